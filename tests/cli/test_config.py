"""`obm config`: the settings in force, where they come from, and no secrets."""

from pathlib import Path

from command_line import Obm


def test_each_setting_says_where_it_comes_from(obm: Obm, folder: Path) -> None:
    (folder / ".env").write_text("OBM_PORT=4001\nOBM_HOST=0.0.0.0\nobm_log_level=DEBUG\n")
    settings = obm("config", "--json", OBM_HOST="127.0.0.2").json
    assert {
        name: (settings[name]["value"], settings[name]["source"])
        for name in ("OBM_HOST", "OBM_PORT", "OBM_LOG_LEVEL", "OBM_MAX_RETURNS")
    } == {
        "OBM_HOST": ("127.0.0.2", "environment"),
        "OBM_PORT": ("4001", ".env"),
        "OBM_LOG_LEVEL": ("DEBUG", ".env"),
        "OBM_MAX_RETURNS": ("10", "default"),
    }


def test_secrets_are_masked_everywhere(obm: Obm) -> None:
    secrets = {
        "OPENAI_API_KEY": "sk-verysecret",
        "OPENAI_BASE_URL": "https://user:hidden@proxy.example/v1",
    }
    for arguments in (("config",), ("config", "--json")):
        said = obm(*arguments, **secrets)
        assert said.code == 0
        assert "verysecret" not in said.out
        assert "hidden" not in said.out
        assert "proxy.example" in said.out


def test_limits_are_shown_as_they_are_written(obm: Obm) -> None:
    limits = {"OBM_TOKEN_LIMITS": "gpt-4o=90_000,o3=5"}
    settings = obm("config", "--json", **limits).json
    assert settings["OBM_TOKEN_LIMITS"]["value"] == "gpt-4o=90000,o3=5"


def test_a_mistyped_setting_is_pointed_out(obm: Obm) -> None:
    said = obm("config", OBM_MAX_ATEMPTS="4")
    assert (said.code, "did you mean OBM_MAX_ATTEMPTS?" in said.err) == (0, True)


def test_asking_for_debug_output_is_no_mistyped_setting(obm: Obm) -> None:
    assert obm("config", OBM_DEBUG="1").err == ""


def test_the_table_names_every_setting_with_what_it_is(obm: Obm) -> None:
    text = obm("config").out
    assert "OBM_KEEP_OUTBOX_DAYS" in text
    assert "outbox/ (0: for ever)" in text
