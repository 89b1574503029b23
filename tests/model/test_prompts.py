import pytest

from p5mm.errors import InputError
from p5mm.model.prompts import FAMILIES, Prompt, choose, read_prompts


def test_every_family_has_prompts_to_train_with_and_one_held_out():
    prompts = read_prompts()
    for family in FAMILIES:
        seen, held_out = choose(prompts, family), choose(prompts, family, held_out=True)
        assert seen
        assert held_out
        assert not {p.text for p in seen} & {p.text for p in held_out}


def test_pieces_around_slots():
    assert Prompt("review", False, "{item} is", "{text}").pieces == ["{item}", "is"]
    assert Prompt("direct", False, "plain words", "{item}").pieces == ["plain words"]


def test_comments_and_empty_lines(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("# no prompt\n\nrating | seen | how good is {item} ? | {rating}\n")
    assert read_prompts(file) == (Prompt("rating", False, "how good is {item} ?", "{rating}"),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rating | seen | how", "line 2: 3 fields; write family"),
        ("ratings | seen | a | {rating}", "did you mean 'rating'"),
        ("rating | used | a | {rating}", "Allowed: held-out, seen"),
        ("rating | seen | a | {ratting}", "did you mean '{rating}'"),
        ("rating | seen | a {user} | {rating}", "unknown slot in .*'{user}'"),
        ("direct | seen | is {item} it ? | {item}", "take {item} out of it"),
    ],
)
def test_a_wrong_line_is_told_with_its_place(tmp_path, line, message):
    file = tmp_path / "p.txt"
    file.write_text(f"# first\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_prompts(file)


def test_a_family_without_prompts():
    with pytest.raises(InputError, match="no held-out prompt of the family 'direct'"):
        choose([Prompt("direct", False, "a", "{item}")], "direct", held_out=True)
