import os
import threading
from pathlib import Path

from gradio.utils import get_upload_folder

from demo.backend import publishing

SIZE_BYTES = 20_000_000


def readings(publish):
    """What is read of a file while it is published again and again: the lengths."""
    data = bytes(SIZE_BYTES)
    path = Path(publish(data))
    done = threading.Event()

    def publish_again():
        for _ in range(20):
            publish(data)
        done.set()

    again = threading.Thread(target=publish_again)
    again.start()
    lengths = set()
    while not done.is_set():
        lengths.add(len(path.read_bytes()))
    again.join()
    return lengths


def test_a_file_that_is_published_again_is_whole_all_the_while():
    assert readings(lambda data: publishing.publish(data, "picture.jpg")) == {SIZE_BYTES}


def test_nothing_else_is_left_beside_a_published_file():
    path = Path(publishing.publish(b"picture", "picture.jpg"))
    assert path.read_bytes() == b"picture"
    assert [path] == list(path.parent.iterdir())
    assert path.is_relative_to(Path(get_upload_folder()).resolve())


def test_a_file_that_is_published_again_is_new_again():
    """Gradio deletes the oldest."""
    path = Path(publishing.publish(b"picture", "picture.jpg"))
    os.utime(path, (0, 0))
    assert publishing.publish(b"picture", "picture.jpg") == str(path)
    assert path.stat().st_mtime > 0


def test_files_of_one_name_and_other_content_lie_apart():
    one, other = publishing.publish(b"one", "a.jpg"), publishing.publish(b"other", "a.jpg")
    assert Path(one).read_bytes() == b"one"
    assert Path(other).read_bytes() == b"other"
