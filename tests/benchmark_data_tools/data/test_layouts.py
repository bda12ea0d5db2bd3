import numpy as np
import pytest

from benchmark_data_tools.data.layouts import LAYOUTS, find_samples, read_subset
from mgm_core.images import write_image


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_image(folder / name, np.zeros((4, 4), np.float32))


def test_partners_are_found_by_name_whatever_their_extension(tmp_path):
    put(tmp_path / "image", "b.jpg", "a.png")
    put(tmp_path / "alpha", "a.png", "b.png", "not_asked_for.png")
    put(tmp_path / "detailmap", "a_cloud_trimap.jpg", "b_cloud_trimap.jpg")
    samples = find_samples("5", tmp_path)
    assert [sample.name for sample in samples] == ["a", "b"]
    assert {part: path.name for part, path in samples[1].files.items()} == {
        "image": "b.jpg",
        "alpha": "b.png",
        "detailmap": "b_cloud_trimap.jpg",
    }


def test_many_images_may_share_a_partner(tmp_path):
    put(tmp_path / "merged", "boy_0.png", "boy_13.png")
    put(tmp_path / "alpha", "boy.png")
    samples = find_samples("2", tmp_path)
    assert [sample.files["alpha"].name for sample in samples] == ["boy.png", "boy.png"]


def test_an_optional_part_is_taken_where_there_is_one(tmp_path):
    put(tmp_path / "image", "a.png")
    put(tmp_path / "alpha", "a.png")
    assert "trimap" not in find_samples("robustness", tmp_path)[0].files
    put(tmp_path / "trimap1", "a.png")
    assert "trimap" in find_samples("robustness", tmp_path)[0].files


def test_a_missing_folder_is_named(tmp_path):
    put(tmp_path / "image", "a.png")
    with pytest.raises(ValueError, match=r"must hold a folder alpha_copy or alpha \(alpha\), got"):
        find_samples("2", tmp_path)


def test_missing_partners_are_named_and_counted(tmp_path):
    put(tmp_path / "image", *(f"x{n}.png" for n in range(7)))
    put(tmp_path / "alpha", "x3.png")
    with pytest.raises(ValueError, match=r"got none for 6: add alpha of x0, .* and 1 more"):
        find_samples("2", tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path):
    put(tmp_path / "image", "a.png", "a.jpg")
    put(tmp_path / "alpha", "a.png")
    with pytest.raises(ValueError, match=r"one file a name, got a\.jpg and a\.png: remove one"):
        find_samples("2", tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "image").mkdir()
    with pytest.raises(ValueError, match="must hold pictures, got none: add files ending in"):
        find_samples("2", tmp_path)


def test_a_subset_takes_the_named_images_only(tmp_path):
    put(tmp_path / "image", "a.png", "b.v2.png", "c.png")
    put(tmp_path / "alpha", "a.png", "b.v2.png", "c.png")
    (tmp_path / "list.txt").write_text("# ours\nc.png\n\nb.v2\n")
    names = read_subset(tmp_path / "list.txt")
    assert [s.name for s in find_samples("2", tmp_path, names)] == ["b.v2", "c"]
    with pytest.raises(ValueError, match="subset must name images of the benchmark, got d: "):
        find_samples("2", tmp_path, ["a", "d"])


def test_an_empty_subset_is_refused(tmp_path):
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match="must name at least one image, got none"):
        read_subset(tmp_path / "list.txt")


def test_every_layout_starts_with_the_images():
    assert all(layout.parts[0].name == "image" for layout in LAYOUTS.values())
