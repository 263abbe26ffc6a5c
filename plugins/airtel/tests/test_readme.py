"""The README names every setting and every number of the simulator."""

from pathlib import Path

import pytest

from dusangire_airtel import stories
from dusangire_airtel.config import AirtelConfig, HashedPart, Padding

README = (Path(__file__).parents[1] / "README.md").read_text()
NUMBERS = {
    *stories.FAILURES,
    *stories.TALES,
    *stories.NO_WALLET,
    *stories.WAITING,
    *stories.PAYERS,
    stories.AMBIGUOUS,
    stories.BROKEN,
    stories.UNANSWERED,
    stories.TIMED_OUT,
}


@pytest.mark.parametrize("word", [*AirtelConfig.model_fields, *Padding, *HashedPart])
def test_a_setting_is_explained(word: str) -> None:
    assert f"`{word}`" in README


def test_every_number_with_a_story_is_listed() -> None:
    table = README.partition("| Number | What happens |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    listed = {number[-3:] for cell in cells for number in cell.replace("`", " ").split()}

    assert listed == {number[-3:] for number in NUMBERS}
