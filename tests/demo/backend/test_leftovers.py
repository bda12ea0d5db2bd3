import errno
import os
import time
from pathlib import Path

from demo.backend.leftovers import delete_old_files


def written(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_files_go_by_age_whoever_wrote_them(tmp_path):
    folder, other = tmp_path / "own", tmp_path / "other"
    gone = [written(folder / "b" / "old.png"), written(folder / "tmp1234")]
    elsewhere = written(other / "old.png")
    (folder / "link").symlink_to(other)
    assert delete_old_files(folder, 60) == 0
    assert all(path.exists() for path in gone)
    assert delete_old_files(folder, 60, now=time.time() + 61) == 2
    assert list(folder.iterdir()) == []
    assert elsewhere.exists()


def test_a_copy_is_as_old_as_itself_and_not_as_its_original(tmp_path):
    copy = written(tmp_path / "a" / "example.png")
    os.utime(copy, (0, 0))
    assert delete_old_files(tmp_path, 60) == 0
    assert copy.exists()


def test_a_folder_that_is_new_stays_for_its_file(tmp_path):
    (tmp_path / "a").mkdir()
    delete_old_files(tmp_path, 60)
    assert (tmp_path / "a").is_dir()


def test_a_file_that_cannot_be_deleted_keeps_no_other(tmp_path, monkeypatch, caplog):
    files = [written(tmp_path / name / "old.png") for name in "abc"]
    unlink = Path.unlink

    def refuse(path, missing_ok=False):
        if path == files[1]:
            raise OSError(errno.EIO, "Input/output error", str(path))
        unlink(path, missing_ok)

    later = time.time() + 61
    monkeypatch.setattr(Path, "unlink", refuse)
    assert delete_old_files(tmp_path, 60, now=later) == 2
    assert [path.exists() for path in files] == [False, True, False]
    assert "a file could not be deleted: [Errno 5] Input/output error" in caplog.text
    monkeypatch.undo()
    assert delete_old_files(tmp_path, 60, now=later) == 1
