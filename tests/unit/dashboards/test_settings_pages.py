"""Settings without a browser: switches, limits, prices, tokens, the configuration in force."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from delivery_ledger import CRM, copy_of, last_move, store_with_deliveries
from factories import Store
from looks import Looker

from batching.access import ALL_SCOPES, Scope
from batching.settings import Settings
from dashboards.actions import intake
from dashboards.actions import settings as actions
from dashboards.components.board import Event
from dashboards.context import DashboardContext
from dashboards.page import Look
from dashboards.pages.settings import PAGE
from dashboards.pages.settings_access import revoke_question
from dashboards.pages.settings_caps import question
from dashboards.performing import Deed, Outcome, perform
from dashboards.places import Place
from dashboards.site import Site
from dashboards.visitor import Visitor
from storage.access_tokens import create_token, read_tokens
from storage.health import HealthFile
from storage.holding import hold_lanes
from storage.intake_gate import read_pause
from storage.snapshots import snapshot

if TYPE_CHECKING:
    from dashboards.desk import Desk

READ = frozenset({Scope.READ})


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_with_deliveries(tmp_path_factory.mktemp("deliveries") / "data").directory.root


@pytest.fixture
def store(tmp_path: Path, folder: Path) -> Store:
    return copy_of(folder, tmp_path / "data")


@pytest.fixture
def looker(store: Store) -> Looker:
    return Looker(store.directory)


def configured(store: Store, **settings: object) -> Looker:
    return Looker(store.directory, Settings(_env_file=None, **settings))


def done(store: Store, deed: Deed, scopes: frozenset[Scope] = ALL_SCOPES) -> Outcome:
    site = Site.of(DashboardContext(settings=Settings(), directory=store.directory))
    return asyncio.run(perform(deed, site=site, visitor=Visitor(name="local", scopes=scopes)))


def test_only_the_part_of_the_address_is_shown(looker: Looker) -> None:
    assert looker.tile("/ui/settings", "limits") == ""
    assert looker.tile("/ui/settings?tab=limits", "switches") == ""
    assert "gpt-4o-mini" in looker.tile("/ui/settings?tab=limits", "limits")


def test_every_switch_says_what_waits_behind_it(looker: Looker, store: Store) -> None:
    hold_lanes(store.ledger, [1], paused=True, actor="x")
    shown = looker.tile("/ui/settings", "switches")
    assert 'data-act="pause-intake"' in shown
    assert 'data-act="resume-lane"' in shown
    assert 'data-act="pause-target"' in shown
    assert f'data-id="{CRM}"' in shown
    assert "1 result waiting" in shown
    assert ">Not paused<" in shown
    assert ">Running<" not in shown
    assert "data-act" not in looker.tile("/ui/settings", "switches", scopes=READ)


def test_of_very_many_destinations_the_paused_ones_are_shown_first(
    looker: Looker, store: Store
) -> None:
    store.run(
        "INSERT INTO targets SELECT 'webhook:t' || n, 'webhook', NULL, 0, NULL, NULL, NULL, NULL, "
        "CASE WHEN n = 98 THEN now()::TIMESTAMP END FROM range(10, 99) AS t(n)"
    )
    shown = looker.tile("/ui/settings", "switches")
    assert "t98" in shown
    assert "and 71 more" in shown


def test_intake_is_paused_with_a_reason_and_resumed_and_the_trail_tells(store: Store) -> None:
    text = done(store, intake.pause("full")).text
    assert text == "Intake is paused: new requests are refused."
    pause = read_pause(store.directory)
    assert pause is not None
    assert (pause.reason, pause.actor) == ("full", "dashboard:local")
    assert done(store, intake.pause()).tone == "info"
    assert done(store, intake.resume()).text == "Intake goes on."
    assert last_move(store) == ("intake", "open", "dashboard:local")


def test_submission_is_paused_for_one_model_and_for_all(store: Store) -> None:
    assert "1 lane paused" in done(store, actions.hold_submission([1], paused=True)).text
    assert done(store, actions.hold_submission(None, paused=True)).tone == "info"
    assert "1 lane resumed" in done(store, actions.hold_submission(None, paused=False)).text
    assert last_move(store) == ("1", "running", "dashboard:local")


def test_limits_say_where_they_come_from(store: Store) -> None:
    url = {"OPENAI_BASE_URL": "http://provider"}
    shown = configured(store, **url).tile("/ui/settings?tab=limits", "limits")
    assert "None known" in shown
    assert "no limit known" in shown
    store.run("UPDATE lanes SET learned_limit = 90000, learned_at = now()::TIMESTAMP")
    shown = configured(store, **url).tile("/ui/settings?tab=limits", "limits")
    assert "90,000" in shown
    assert "Learned" in shown
    assert 'data-act="forget-limit"' in shown
    own = configured(store, **url, OBM_TOKEN_LIMITS={"gpt-4o": 2_000_000})
    shown = own.tile("/ui/settings?tab=limits", "limits")
    assert "2,000,000" in shown
    assert "Environment" in shown


def test_a_cap_is_set_shown_with_its_use_and_reset(store: Store) -> None:
    looker = configured(store, OPENAI_BASE_URL="http://provider")
    assert looker.tile("/ui/settings?tab=limits", "caps") == ""
    text = done(store, actions.set_cap("GPT-4o", 2_000_000)).text
    assert text == "gpt-4o: at most 2,000,000 tokens (2M)."
    assert last_move(store) == ("gpt-4o", "set", "dashboard:local")
    shown = looker.tile("/ui/settings?tab=limits", "caps")
    assert 'data-id="gpt-4o"' in shown
    assert "2,000,000" in shown
    assert "dashboard:local" in shown
    assert 'data-act="reset-cap"' in shown
    assert "reset-cap" not in looker.tile("/ui/settings?tab=limits", "caps", scopes=READ)
    assert ">Cap<" in looker.tile("/ui/settings?tab=limits", "limits")
    store.run("UPDATE lanes SET learned_limit = 90000, learned_at = now()::TIMESTAMP")
    assert "lowered to 90,000" in looker.tile("/ui/settings?tab=limits", "caps")
    assert "forgotten" in done(store, actions.set_cap("gpt-4o", 3_000_000)).text
    assert done(store, actions.reset_cap("gpt-4o")).text.startswith("The cap of 3,000,000 tokens")
    assert done(store, actions.reset_cap("gpt-4o")).tone == "info"
    assert looker.tile("/ui/settings?tab=limits", "caps") == ""


def test_the_form_for_a_cap_offers_the_models_with_their_limits(store: Store) -> None:
    looker = configured(store, OPENAI_BASE_URL="https://api.openai.com/v1")
    shown = looker.tile("/ui/settings?tab=limits&model=o3", "cap-form")
    assert 'name="model" required maxlength="200"' in shown
    assert 'value="o3"' in shown
    assert '<option value="gpt-4o-mini" label="now 2,000,000 (2M)">' in shown
    assert looker.tile("/ui/settings?tab=limits", "cap-form", scopes=READ) == ""


def test_the_question_before_a_cap_says_what_would_fail() -> None:
    lane = {"model": "gpt-4o", "endpoint": "/v1/x", "token_limit": None, "enqueued_tokens": 7}
    whole = question("gpt-4o", 500, {"lanes": [lane], "requests_above": 2}).as_html()
    assert "Cap gpt-4o at 500 tokens (500)?" in whole
    assert "no limit known now, 500 then, 7 in use" in whole
    assert "2 pending requests alone need more than that and will fail" in whole
    assert "danger" in whole
    assert (
        "No request has named such a model"
        in question("o3", 500, {"lanes": [], "requests_above": 0}).as_html()
    )


def test_a_learned_limit_is_forgotten_once(store: Store) -> None:
    store.run("UPDATE lanes SET learned_limit = 90000, learned_at = now()::TIMESTAMP")
    assert "90,000 tokens is forgotten" in done(store, actions.forget_limit(1)).text
    assert store.value("SELECT learned_limit FROM lanes") is None
    assert last_move(store) == ("1", "limit_forgotten", "dashboard:local")
    assert done(store, actions.forget_limit(1)).tone == "info"


def test_prices_have_a_date_and_an_unknown_one_is_unknown(store: Store) -> None:
    store.run("UPDATE lanes SET model = 'house-model'")
    shown = configured(store).tile("/ui/settings?tab=prices", "prices")
    assert "No price is known of <code>house-model</code>" in shown
    assert "as of <b>20" in shown
    assert "OBM_PRICE_TABLE" in shown
    row = shown.split('data-id="house-model"')[1].split("</tr>")[0]
    assert "$" not in row
    assert shown.index("house-model") < shown.index('data-id="gpt-4.1"')


def test_without_tokens_the_page_says_how_to_make_the_first(looker: Looker) -> None:
    shown = looker.tile("/ui/settings?tab=access", "tokens")
    assert "obm token create me" in shown
    assert "data-act" not in shown


def test_tokens_are_listed_without_their_secrets(looker: Looker, store: Store) -> None:
    text = create_token(store.directory, name="anna", scopes=[Scope.READ])
    shown = looker.tile("/ui/settings?tab=access", "tokens")
    assert "anna" in shown
    assert text.split("_", 2)[2] not in shown
    (token,) = read_tokens(store.directory)
    assert token.secret_sha256 not in shown
    assert 'data-act="revoke-token"' in shown
    assert "data-act" not in looker.tile("/ui/settings?tab=access", "tokens", scopes=READ)


def test_a_token_is_made_and_ended_and_the_trail_knows_its_name_only(store: Store) -> None:
    keep: list[str] = []
    done(store, actions.create_token(" nightly ", [Scope.SUBMIT], keep))
    (token,) = read_tokens(store.directory)
    assert (token.name, token.scopes) == ("nightly", (Scope.SUBMIT,))
    assert keep[0].startswith(f"obm_{token.id}_")
    assert last_move(store) == ("nightly", "created", "dashboard:local")
    assert keep[0] not in str(store.rows("SELECT * FROM transitions"))
    create_token(store.directory, name="boss", scopes=[Scope.OPERATE])
    site = Site.of(DashboardContext(settings=Settings(), directory=store.directory))
    boss = Visitor(name="boss", scopes=frozenset({Scope.OPERATE}))
    outcome = asyncio.run(perform(actions.revoke_token(token.id), site=site, visitor=boss))
    assert outcome.text == "The token nightly is not valid any more."
    assert read_tokens(store.directory)[0].revoked_at is not None
    assert last_move(store) == ("nightly", "revoked", "dashboard:boss")


def test_a_name_that_is_taken_makes_no_token_and_no_line_in_the_trail(store: Store) -> None:
    create_token(store.directory, name="local", scopes=list(Scope))
    keep: list[str] = []
    outcome = done(store, actions.create_token("local", [Scope.READ], keep))
    assert (outcome.tone, keep) == ("error", [])
    assert "there is a token 'local' already" in outcome.text
    assert not store.value("SELECT count(*) FROM transitions WHERE entity = 'token'")


def test_the_last_token_and_ones_own_are_not_ended_unwarned() -> None:
    plain = revoke_question("x", is_own=False, is_last=False).text
    assert "last valid" not in plain
    assert "logged in" not in plain
    both = revoke_question("x", is_own=True, is_last=True).text
    assert "last valid" in both
    assert "logged in" in both


def test_the_configuration_shows_sources_and_no_secret(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("RABBITMQ_URL", "amqp://user:hush@broker/")
    looker = configured(store)
    shown = looker.tile("/ui/settings?tab=configuration", "configuration")
    assert "sk-secret" not in shown
    assert "hush" not in shown
    assert "********" in shown
    chosen = looker.tile("/ui/settings?tab=configuration&source=environment", "configuration")
    assert "OPENAI_API_KEY" in chosen
    assert "OBM_KEEP_BACKUPS" not in chosen
    assert "Nothing matches" in looker.tile("/ui/settings?tab=configuration&q=zz", "configuration")


def test_cadence_retries_and_retention_are_in_words(store: Store) -> None:
    looker = configured(store, OBM_KEEP_AUDIT_DAYS=0, OBM_DISABLE_FAILING_DAYS=0)
    shown = looker.tile("/ui/settings?tab=configuration", "rules")
    assert 'title="OBM_KEEP_AUDIT_DAYS">for ever<' in shown
    assert 'title="OBM_DISABLE_FAILING_DAYS">never<' in shown
    assert 'title="OBM_INTERVAL_UPKEEP">1 h<' in shown
    assert 'title="OBM_KEEP_BACKUPS">the last 24<' in shown


def test_roles_say_how_they_are_and_who_answered_them(store: Store) -> None:
    health = HealthFile(store.directory.health, "pipeline")
    health.answered("openai")
    health.report("running", "all is <well>")
    site = Site.of(DashboardContext(settings=Settings(), directory=store.directory))
    with snapshot(store.directory) as reader:
        look = Look(
            reader=reader, place=Place.of("/ui/settings"), site=site, at=datetime.now(UTC),
            visitor=Visitor(name="x", scopes=READ),
        )  # fmt: skip
        shown = PAGE.tiles["roles"](look)
        told = PAGE.tiles["installation"](look)
    assert ">Running<" in shown
    assert "openai answered" in shown
    assert "all is &lt;well&gt;" in shown
    assert shown.count("Not started here") == 3
    assert str(store.directory.root) in told
    assert "free of" in told


def test_nobody_gives_a_token_more_than_he_has_himself(store: Store) -> None:
    said: list[str] = []
    desk = SimpleNamespace(
        visitor=Visitor(name="anna", scopes=frozenset({Scope.READ, Scope.OPERATE})),
        toast=lambda text, _tone: said.append(text),
    )
    asked = Event(action="create-token", values={"name": "more", "read": "on", "submit": "on"})

    async def press() -> None:
        await PAGE.deeds["create-token"](cast("Desk", desk), asked)

    asyncio.run(press())
    assert said == ["Nobody can give what he does not have himself: submit."]
    assert not read_tokens(store.directory)


def test_the_first_page_names_all_that_needs_somebody(looker: Looker, store: Store) -> None:
    store.run("UPDATE targets SET paused_at = now()::TIMESTAMP WHERE target = ?", CRM)
    store.run("UPDATE jobs SET paused = true")
    names = [row["name"] for row in store.rows("SELECT name FROM jobs")]
    shown = looker.tile("/ui", "attention")
    assert "Paused: delivery to https://crm.example<" in shown
    assert all(f"Job {name} is paused" in shown for name in names)
