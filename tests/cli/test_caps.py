"""`obm cap`: how many tokens may be enqueued for a model, set while everything runs."""

from pathlib import Path

from command_line import Obm, RequestFile

from storage.directory import DataDirectory
from storage.token_caps import token_caps_in


def test_a_cap_is_set_listed_and_reset(obm: Obm, folder: Path) -> None:
    assert "No cap is set" in obm("cap", "list").out
    assert obm("cap", "list", "--json").json == []
    said = obm("cap", "set", "GPT-4o", "2M")
    assert (said.code, "At most 2,000,000 tokens" in said.out) == (0, True)
    assert "(before: 2,000,000)" in obm("cap", "set", "gpt-4o", "900,000").out
    assert token_caps_in(DataDirectory(folder / "data")) == {"gpt-4o": 900_000}
    (cap,) = obm("cap", "list", "--json").json
    assert (cap["model"], cap["tokens"], cap["set_by"].startswith("cli")) == (
        "gpt-4o", 900_000, True
    )  # fmt: skip
    assert "900,000" in obm("cap", "list").out
    assert "900,000 tokens is gone" in obm("cap", "reset", "gpt-4o").out
    again = obm("cap", "reset", "gpt-4o")
    assert (again.code, "no cap is set for 'gpt-4o'" in again.err) == (2, True)


def test_wrong_usage_is_a_sentence(obm: Obm) -> None:
    for tokens in ("0", "many", "-3"):
        said = obm("cap", "set", "gpt-4o", "--", tokens)
        assert (said.code, said.err.count("\n")) == (2, 1)
    assert obm("cap", "set", "gpt-4o").code == 2


def test_an_estimate_counts_with_the_cap(obm: Obm, request_file: RequestFile) -> None:
    file = request_file("x.jsonl", 3)
    assert obm("estimate", file, "--json").json["total"]["batches"] == 1
    obm("cap", "set", "gpt", "15")
    (lane,) = obm("estimate", file, "--json").json["lanes"]
    assert (lane["token_limit"], lane["token_limit_source"]) == (15, "operator")
