"""Files and folders that appear whole or not at all."""

import pytest

from m3eval.files import digest, read_json, whole_file, write_folder, write_json


def test_a_file_stays_as_it_was_when_writing_fails(tmp_path):
    path = tmp_path / "folder" / "file.json"
    write_json(path, {"b": "é", "a": [1]})
    with pytest.raises(ValueError, match="broken"), whole_file(path) as part:
        part.write_text("half")
        raise ValueError("broken")
    assert read_json(path) == {"b": "é", "a": [1]}
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_only_when_it_is_filled(tmp_path):
    def fail(folder):
        (folder / "a").write_text("half")
        raise ValueError("broken")

    path = tmp_path / "index"
    with pytest.raises(ValueError, match="broken"):
        write_folder(path, fail)
    assert not path.exists()
    write_folder(path, lambda folder: (folder / "b").write_text("whole") and None)
    assert [file.name for file in path.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_order_of_keys_does_not_change_a_digest():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_never_written(tmp_path, value):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1.0})
    with pytest.raises(ValueError):
        write_json(path, {"a": [{"b": value}]})
    assert read_json(path) == {"a": 1.0}
