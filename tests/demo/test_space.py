import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from demo.environment import Environment
from demo.space import front_matter, main, make_space

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "space"
    make_space(folder)
    return folder


def settings_of(readme):
    lines = front_matter(readme).splitlines()[1:-1]
    return {key: value.strip().strip('"') for key, _, value in (x.partition(":") for x in lines)}


def test_the_front_matter_is_what_the_hub_wants(space):
    settings = settings_of((space / "README.md").read_text())
    assert settings["sdk"] == "gradio"
    assert settings["sdk_version"] == version("gradio")
    assert settings["python_version"] == "3.12"  # which ZeroGPU has
    assert (space / settings["app_file"]).is_file()
    assert settings["license"] == "other"  # that of the weights, which go with it
    assert not {"thumbnail", "hf_oauth"} & settings.keys()
    assert len(settings["short_description"]) <= 60
    assert {settings["colorFrom"], settings["colorTo"]} <= {
        "red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray",
    }  # fmt: skip


def test_the_front_matter_tells_what_this_space_has(tmp_path):
    folder = tmp_path / "space"
    assert main([str(folder), "--name", "ada/matting", "--annotate"]) == 0
    settings = settings_of((folder / "README.md").read_text())
    assert settings["hf_oauth"] == "true"
    address = "https://huggingface.co/spaces/ada/matting/resolve/main/"
    assert settings["thumbnail"].startswith(address)
    assert (folder / settings["thumbnail"].removeprefix(address)).is_file()


def test_all_that_the_page_needs_is_there_and_no_more(space):
    files = {path.relative_to(space).as_posix() for path in space.rglob("*") if path.is_file()}
    for name in (ROOT / "mgm_core" / "weights").iterdir():
        assert f"mgm_core/weights/{name.name}" in files
    assert {"app.py", "LICENSE", "demo/examples/pictures/curls.jpg", "demo/ui.py"} <= files
    assert not [
        name for name in files if re.search(r"__pycache__|\.pyi?c$|^tests/|^training/", name)
    ]
    assert Environment.table() in (space / "README.md").read_text()


def test_requirements_are_pinned_and_the_hub_takes_the_binaries(space):
    wanted = (space / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w\[\],-]+==[\w.]+", line) for line in wanted)
    assert f"gradio=={version('gradio')}" in wanted
    assert {"torch==2.11.0", "torchvision==0.26.0"} <= set(wanted)  # which ZeroGPU has
    assert not [line for line in wanted if line.startswith("tensorboard")]

    attributes = (space / ".gitattributes").read_text()
    for path in space.rglob("*"):
        if path.suffix in (".safetensors", ".png", ".jpg", ".webp"):
            assert f"*{path.suffix} filter=lfs" in attributes
            assert path.stat().st_mode & 0o044 == 0o044
        elif path.is_file():
            path.read_text(encoding="utf-8")


def test_an_earlier_space_is_renewed_and_its_history_kept(tmp_path):
    folder = tmp_path / "space"
    make_space(folder)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    (folder / "old.txt").write_text("old")
    make_space(folder)
    assert (folder / ".git" / "HEAD").read_text() == "ref"
    assert not (folder / "old.txt").exists()


def test_other_folders_are_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(
        ValueError, match=r"folder must be new, empty or an earlier Space, got .* with"
    ):
        make_space(tmp_path)
    assert main([str(tmp_path)]) == 1
    assert "error: folder must be new" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_project_is_never_taken_for_a_space(tmp_path):
    project = tmp_path / "project"
    for part in ("demo/space.py", "mgm_core/recipe.py", "app.py", "benchmark_data_tools/a.py"):
        (project / part).parent.mkdir(parents=True, exist_ok=True)
        (project / part).write_text("mine")
    (tmp_path / "link").symlink_to(project)
    inside = [project / part / "space" for part in ("demo", "mgm_core", "benchmark_data_tools")]
    for folder in (project, tmp_path / "link", tmp_path, *inside):
        with pytest.raises(ValueError, match=r"folder must neither hold the project nor lie in it"):
            make_space(folder, project)
    with pytest.raises(ValueError, match=r"an earlier Space, got .* with app.py in it"):
        make_space(project)  # somebody else's
    assert all(path.read_text() == "mine" for path in project.rglob("*") if path.is_file())
    assert len([path for path in project.rglob("*") if path.is_file()]) == 4


@pytest.fixture
def small_project(tmp_path):
    project = tmp_path / "project"
    for part in ("demo", "mgm_core", "benchmark_data_tools"):
        (project / part).mkdir(parents=True)
        (project / part / "code.py").write_text("code")
    for name in ("app.py", "LICENSE", "requirements.txt", "README.md"):
        shutil.copy2(ROOT / name, project / name)
    return project


def test_a_space_may_lie_in_the_projects_build_folder(small_project):
    for _ in range(2):
        files = make_space(small_project / "build" / "space", small_project)
        assert Path("demo/code.py") in files


def test_a_run_that_was_interrupted_can_be_repeated(small_project, tmp_path):
    app = (small_project / "app.py").rename(tmp_path / "app.py")
    with pytest.raises(FileNotFoundError):
        make_space(tmp_path / "space", small_project)
    app.rename(small_project / "app.py")
    assert Path("app.py") in make_space(tmp_path / "space", small_project)


def test_a_readme_without_front_matter_is_refused():
    with pytest.raises(ValueError, match=r"README.md must begin with a Space's front matter"):
        front_matter("# Hello")


def test_a_cpu_space_takes_pytorch_from_its_cpu_index(tmp_path, capsys):
    assert main([str(tmp_path / "space"), "--cpu"]) == 0
    first, *others = (tmp_path / "space" / "requirements.txt").read_text().splitlines()
    assert first == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert f"torch=={version('torch').partition('+')[0]}" in others
