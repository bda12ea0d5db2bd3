from dataclasses import fields

import pytest

from demo.environment import Environment


def test_nothing_set_is_the_defaults():
    assert Environment.from_variables({}) == Environment()
    assert Environment().port == 7860


def test_variables_are_read_in_the_type_of_their_default():
    environment = Environment.from_variables(
        {"PORT": "7000", "MGM_MAX_MEGAPIXELS": "2.5", "MGM_WEIGHTS": " mine.pth ", "HOME": "/"}
    )
    assert (environment.port, environment.max_megapixels) == (7000, 2.5)
    assert environment.weights == "mine.pth"


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="MGM_QUEUE_SIZE must be a number, got 'many': it is the"):
        Environment.from_variables({"MGM_QUEUE_SIZE": "many"})


def test_what_is_out_of_range_is_refused():
    with pytest.raises(
        ValueError, match=r"MGM_MAX_MEGAPIXELS must lie between 0.01 and 89, got 90"
    ):
        Environment.from_variables({"MGM_MAX_MEGAPIXELS": "90"})


def test_the_table_names_every_setting():
    table = Environment.table()
    assert table.count("\n") == len(fields(Environment)) + 1
    assert "| `MGM_MAX_MEGAPIXELS` | 24.0 | largest photo that is accepted |" in table
