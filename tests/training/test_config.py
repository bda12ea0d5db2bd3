from pathlib import Path

import pytest

from training.config import ConfigError, load

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.toml"))
PRN = next(path for path in CONFIGS if path.stem == "prn_mobilenet_v2")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_valid_and_opens_with_its_command(path):
    config = load(path, [])
    assert config.run.folder == f"runs/{path.stem}"
    head = path.read_text().split("\nversion")[0]
    assert f"python -m training training/configs/{path.name}" in head
    for line in ("hours", "score"):
        assert line in head.lower(), f"{path.name} does not tell its expected {line}"


def test_corrections_replace_values_of_every_kind():
    config = load(
        PRN,
        ["run.steps=7", "data.root=/some where", "data.camera=false", "data.scales=[1, 2.5]",
         "optimiser.learning_rate=1"],
    )  # fmt: skip
    assert config.run.steps == 7
    assert config.data.root == "/some where"
    assert config.data.camera is False
    assert config.data.scales == (1.0, 2.5)
    assert config.optimiser.learning_rate == 1.0


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        ("run.step=7", r"run.step must be a known key, got 'step': did you mean run.steps\?"),
        ("trainig.x=1", "trainig must be a known key"),
        ("run.steps=7.5", "run.steps must be of type int, got 7.5 of type float"),
        ("run.steps=true", "run.steps must be of type int, got True of type bool"),
        ("run.seed", "a correction must read key=value, got 'run.seed'"),
        (
            "task=video",
            "task must be one of 'prn', 'foreground', 'segmenter', 'fusion', got 'video'",
        ),
        ("data.scales=[1.0]", "data.scales must hold 2 values, got 1"),
        ("data.backgrounds=x", "data.backgrounds must be a list, got 'x'"),
        ("run.steps.x=1", "run.steps.x must name a key in a table, but 'steps' is a value"),
        ("run=3", "run must be a table, got 3"),
        ("version=99", "version must be 1, got 99: the file is for another version"),
    ],
)
def test_a_wrong_correction_says_what_is_wrong(correction, message):
    with pytest.raises(ConfigError, match=message):
        load(PRN, [correction])


def test_a_missing_key_and_a_missing_or_broken_file(tmp_path):
    path = tmp_path / "a.toml"
    with pytest.raises(ConfigError, match="which does not exist: see training/configs"):
        load(path, [])
    path.write_text("version = ")
    with pytest.raises(ConfigError, match="must be valid TOML"):
        load(path, [])
    path.write_text('version = 1\ntask = "prn"\n[run]\nfolder = "x"\n')
    with pytest.raises(ConfigError, match=r"run\.steps must be given"):
        load(path, [])


def test_a_key_answers_to_its_old_name_too(tmp_path, caplog):
    path = tmp_path / "config.toml"
    path.write_text(
        'version = 1\ntask = "prn"\n[run]\nfolder = "r"\nsteps = 1\n'
        '[data]\nroot = "d"\nsources = []\nbackgrounds = []\nkept_examples = 7\n'
    )
    assert load(path, []).data.cached_examples == 7
    assert "data.kept_examples is now called cached_examples" in caplog.text
