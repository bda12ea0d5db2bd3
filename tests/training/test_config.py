from pathlib import Path

import pytest

from mgm_core.runtime.renamed import DATA_KEYS, TASKS
from training.config import ConfigError, load

CONFIGS = sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.toml"))
STORED = Path(__file__).parents[1] / "data" / "stored"
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


def test_zeros_that_have_a_meaning_are_taken():
    zeros = (
        *("run.minutes", "run.threads", "run.workers", "run.panel_every", "run.checkpoint_minutes"),
        *("data.made_up_each_step", "data.whole_probability"),
    )
    config = load(PRN, [f"{key}=0" for key in zeros])
    assert (config.run.panel_every, config.data.whole_probability) == (0, 0)


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        (
            "run.step=7",
            r"run.step must be one of the keys .*, got 'step': did you mean run.steps\?",
        ),
        ("trainig.x=1", "trainig must be one of the keys version, task"),
        ("run.steps=7.5", "run.steps must be a whole number, got 7.5"),
        ("run.steps=true", "run.steps must be a whole number, got True"),
        ("run.seed", "a correction must read key=value, got 'run.seed'"),
        (
            "task=video",
            "task must be one of prn, foreground, segmenter, fusion, got 'video': choose one",
        ),
        ("data.scales=[1.0]", r"data.scales must hold more values, got \[1\]"),
        ("data.backgrounds=x", "data.backgrounds must be a list, got 'x'"),
        ("run.steps.x=1", "run.steps.x must name a key in a table, but 'steps' is a value"),
        ("run=3", "run must be a table of named values, got 3"),
        ("run.steps=0", r"run\.steps must lie between 1 and 1e\+09, got 0: move it"),
        ("run.batch=0", r"run\.batch must lie between 1 and"),
        ("run.log_every=0", r"run\.log_every must lie between 1 and"),
        ("run.validate_every=-5", r"run\.validate_every must lie between 1 and"),
        ("data.merge_probability=50", "data.merge_probability must lie between 0 and 1, got 50"),
        ("guidance.cut_mask_probability=-0.1", "must lie between 0 and 1, got -0.1"),
        ("data.backgrounds_keep_out_percent=101", "must lie between 0 and 100, got 101"),
        (
            "guidance.mask_operations=[1,-0.1,1,1]",
            r"guidance\.mask_operations\[1\] must lie between 0 and 1e\+09, got -0\.1",
        ),
        ("guidance.mask_operations=[1,1,inf,1]", r"mask_operations\[2\] must lie .*, got inf"),
        ("guidance.mask_operations=[nan,1,1,1]", r"mask_operations\[0\] must lie .*, got nan"),
        ("guidance.mask_operations=[1,1,1]", r"guidance\.mask_operations must hold more values"),
        (
            "guidance.mask_operations=[0,0,0,0]",
            r"guidance\.mask_operations must have a share above 0, got \[0\.0, .*\]: give one",
        ),
        (
            "guidance={mask=0}",
            r"guidance\.mask, trimap and matte must have a share above 0, got \[0\.0, 0\.0, 0\.0\]",
        ),
        ("guidance.trimap=-1", r"guidance\.trimap must lie between 0 and 1e\+09, got -1"),
        ("guidance.matte=nan", r"guidance\.matte must lie between 0 and 1e\+09, got nan"),
        (
            "guidance.mask_kernels_px=[30,1]",
            r"must rise from 1 px or more, got \[30, 1\]: give the",
        ),
        ("guidance.mask_kernels_px=[0,30]", r"must rise from 1 px or more, got \[0, 30\]"),
        ("data.sources=[]", r"data\.sources must have a share above 0, got \[\]: give one"),
        (
            "data.sources=[{kind='rgba', path='a', share=0}]",
            r"data\.sources must have a share above 0, got \[0\.0\]",
        ),
        (
            "data.sources=[{kind='rgba', path='a', share=-2}]",
            r"data\.sources\[0\]\.share must lie between 0 and 1e\+09, got -2",
        ),
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


def test_a_config_of_an_earlier_version_is_read_and_said_to_be_old(caplog):
    config = load(STORED / "config_2026-11-26.toml", [])
    assert config.task == "fusion"
    assert config.data.cached_examples == 5000
    ((old_task, task),), ((old_key, key),) = TASKS.items(), DATA_KEYS.items()
    assert f"task: {old_task} is now called {task}; the next version drops it" in caplog.text
    assert f"data: {old_key} is now called {key}" in caplog.text
    with pytest.raises(ConfigError, match=f"data.{old_key} must be one of the keys"):
        load(STORED / "config_2026-11-26.toml", ["data.cached_examples=7"])
