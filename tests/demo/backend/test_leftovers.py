import os

from demo.backend.leftovers import delete_old_files


def written(path, age_s):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    for each in (path, path.parent):
        os.utime(each, (1000 - age_s, 1000 - age_s))
    return path


def test_files_go_by_age_whoever_wrote_them(tmp_path):
    folder, other = tmp_path / "own", tmp_path / "other"
    kept = written(folder / "a" / "new.png", 50)
    gone = [written(folder / "b" / "old.png", 61), written(folder / "tmp1234", 61)]
    elsewhere = written(other / "old.png", 99)
    (folder / "link").symlink_to(other)
    os.utime(folder / "link", (0, 0), follow_symlinks=False)
    assert delete_old_files(folder, 60, now=1000) == 2
    assert not any(path.exists() for path in gone)
    assert sorted(path.name for path in folder.iterdir()) == ["a"]
    assert kept.exists()
    assert elsewhere.exists()


def test_a_folder_that_is_new_stays_for_its_file(tmp_path):
    (tmp_path / "a").mkdir()
    delete_old_files(tmp_path, 60)
    assert (tmp_path / "a").is_dir()
