"""`obm estimate`: what files would take and cost, and nothing that stays behind."""

import gzip
from decimal import Decimal
from pathlib import Path

import pytest
from command_line import Obm, RequestFile
from factories import RULES, chat_line, chat_lines, embedding_line, read_lines

from batching.estimates import Estimator, LaneEstimate, synchronous_usd, total_usd
from batching.planning import BatchLimits
from batching.prices import Price, PriceTable
from batching.provider import TokenUsage
from batching.token_limits import LimitSource, TokenLimit

PRICES = PriceTable(as_of=None, prices={"gpt-4o-mini": Price(input=Decimal(2), output=Decimal(8))})


def estimator(
    *,
    requests: int = 50_000,
    size: int = 10**9,
    inputs: int = 10**9,
    tokens: int | None = None,
    certain: bool = True,
    prices: PriceTable = PRICES,
) -> Estimator:
    source = LimitSource.OVERRIDE if certain else LimitSource.TABLE
    return Estimator(
        limits=BatchLimits(requests=requests, bytes=size, embedding_inputs=inputs),
        token_limit_of=lambda _model: TokenLimit(tokens=tokens, source=source),
        prices=prices,
    )


def lane_of(estimator: Estimator, lines: list[bytes]) -> LaneEstimate:
    for request in read_lines(lines):
        estimator.add(request)
    (lane,) = estimator.lanes()
    return lane


def test_batches_are_cut_by_requests() -> None:
    assert lane_of(estimator(requests=4), chat_lines(9)).batches == 3


def test_batches_are_cut_by_bytes() -> None:
    size = read_lines(chat_lines(1))[0].wire_bytes
    assert lane_of(estimator(size=2 * size), chat_lines(5)).batches == 3


def test_batches_are_cut_by_embedding_inputs() -> None:
    lines = [embedding_line(f"e{number}", inputs=4) for number in range(5)]
    assert lane_of(estimator(inputs=8), lines).batches == 3


def test_batches_are_cut_by_tokens() -> None:
    tokens = read_lines(chat_lines(1))[0].tokens
    assert lane_of(estimator(tokens=2 * tokens), chat_lines(6)).batches == 3


def test_a_request_above_a_certain_token_limit_is_counted_apart_and_not_priced() -> None:
    lane = lane_of(estimator(tokens=1_000), [chat_line("small"), chat_line("big", text="x" * 9000)])
    alone = lane_of(estimator(tokens=1_000), [chat_line("small")])
    assert (lane.requests, lane.oversized, lane.batches) == (2, 1, 1)
    assert lane.batch_usd == alone.batch_usd


def test_a_request_above_an_uncertain_token_limit_gets_a_batch_of_its_own() -> None:
    big = [chat_line(f"big-{number}", text="x" * 9000) for number in range(2)]
    lane = lane_of(estimator(tokens=1_000, certain=False), [chat_line("a"), *big, chat_line("b")])
    assert (lane.oversized, lane.batches) == (0, 4)


def test_a_batch_costs_half_of_what_the_same_tokens_cost_synchronously() -> None:
    lane = lane_of(estimator(), [chat_line("a", max_tokens=1_000)])
    assert lane.synchronous_usd == (lane.input_tokens * 2 + 1_000 * 8) / Decimal(1_000_000)
    assert lane.batch_usd == lane.synchronous_usd / 2


def test_long_requests_have_their_own_price() -> None:
    price = Price(input=Decimal(2), output=Decimal(8), long_above_tokens=1_000)
    prices = PriceTable(as_of=None, prices={"gpt-4o-mini": price})
    short, long = chat_line("short", max_tokens=0), chat_line("long", text="x" * 9000, max_tokens=1)
    lane = lane_of(estimator(prices=prices), [short, long])
    expected = sum(
        price.cost_usd(TokenUsage(input_tokens=each.tokens, output_tokens=each.output_tokens))
        for each in read_lines([short, long])
    )
    assert lane.batch_usd == expected


def test_an_unknown_price_makes_the_total_unknown() -> None:
    assert lane_of(estimator(), chat_lines(1, model="mystery")).batch_usd is None
    assert total_usd([Decimal(1), None]) is None
    assert total_usd([Decimal(1), Decimal(2)]) == 3


def test_a_copy_goes_on_by_itself() -> None:
    first = estimator()
    first.add(read_lines(chat_lines(1))[0])
    second = first.copy()
    second.add(read_lines(chat_lines(1))[0])
    assert (first.lanes()[0].requests, second.lanes()[0].requests) == (1, 2)


def test_what_was_saved_follows_from_what_was_paid() -> None:
    price = Price(input=Decimal(2), output=Decimal(8), cached_input=Decimal(1))
    usage = TokenUsage(input_tokens=1_000_000, cached_tokens=500_000)
    paid = price.cost_usd(usage)
    assert paid == 1
    assert synchronous_usd(price, usage, paid) == Decimal("1.5")
    assert synchronous_usd(None, usage, paid) is None
    assert synchronous_usd(price, usage, None) is None


def test_the_estimate_counts_requests_by_lane_and_names_bad_lines(
    obm: Obm, request_file: RequestFile
) -> None:
    lines = [*chat_lines(5), embedding_line("e", model="text-embedding-3-small"), b"{", b""]
    said = obm("estimate", request_file("a.jsonl", lines), "--json")
    assert said.code == 0
    assert [
        (lane["endpoint"], lane["requests"], lane["batches"]) for lane in said.json["lanes"]
    ] == [
        ("/v1/chat/completions", 5, 1),
        ("/v1/embeddings", 1, 1),
    ]
    (file,) = said.json["files"]
    assert (file["accepted"], file["rejected"]) == (6, 1)
    assert (file["first_refusals"][0]["line"], file["first_refusals"][0]["code"]) == (7, "not_json")


def test_an_id_that_stands_twice_is_refused_once_and_counted_once(
    obm: Obm, request_file: RequestFile
) -> None:
    lines = [*chat_lines(4), chat_line("id-2", text="something else")]
    said = obm("estimate", request_file("a.jsonl", lines), "--json").json
    (file,) = said["files"]
    assert (file["accepted"], file["rejected"]) == (4, 1)
    assert (file["first_refusals"][0]["line"], said["total"]["requests"]) == (5, 4)


def test_several_files_fill_batches_together(obm: Obm, request_file: RequestFile) -> None:
    files = [request_file("a.jsonl", 3), request_file("b.jsonl", 3)]
    total = obm("estimate", *files, "--json", OBM_BATCH_MAX_REQUESTS="6").json["total"]
    assert (total["requests"], total["batches"]) == (6, 1)


def test_a_table_is_estimated_with_its_side_file(obm: Obm, folder: Path) -> None:
    (folder / "a.csv").write_text("custom_id,prompt\n1,hello\n2,world\n")
    (folder / "a.job.json").write_text('{"url":"/v1/responses","model":"gpt-4o-mini"}')
    (lane,) = obm("estimate", folder / "a.csv", "--json").json["lanes"]
    assert (lane["endpoint"], lane["model"], lane["requests"]) == (
        "/v1/responses",
        "gpt-4o-mini",
        2,
    )


def test_an_unknown_price_is_said_to_be_unknown(obm: Obm, request_file: RequestFile) -> None:
    lines = [*chat_lines(2), chat_line("x", model="mystery-1")]
    said = obm("estimate", request_file("a.jsonl", lines))
    assert "unknown" in said.out
    assert "The price of mystery-1 is not known" in said.out


def test_the_token_table_applies_to_openai_only(obm: Obm, request_file: RequestFile) -> None:
    path = request_file("a.jsonl", 2)
    (here,) = obm("estimate", path, "--json").json["lanes"]
    elsewhere = obm("estimate", path, "--json", OPENAI_BASE_URL="http://localhost:1/v1")
    assert (here["token_limit_source"], elsewhere.json["lanes"][0]["token_limit"]) == (
        "table",
        None,
    )


def test_a_cut_file_is_refused_as_a_whole_and_the_others_still_count(
    obm: Obm, folder: Path, request_file: RequestFile
) -> None:
    packed = gzip.compress(b"\n".join(chat_lines(2_000)))
    (folder / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    said = obm("estimate", folder / "cut.jsonl.gz", request_file("good.jsonl", 2), "--json")
    cut, good = said.json["files"]
    assert said.code == 0
    assert "cut off" in cut["refused_because"]
    assert (good["accepted"], said.json["total"]["requests"]) == (2, 2)


@pytest.mark.parametrize("name", ["empty.jsonl", "unknown.xlsx"])
def test_a_file_without_requests_is_wrong_usage_and_named(
    obm: Obm, folder: Path, name: str
) -> None:
    (folder / name).write_text("")
    said = obm("estimate", folder / name)
    assert (said.code, name in said.out) == (2, True)


def test_a_missing_file_is_one_sentence(obm: Obm) -> None:
    said = obm("estimate", "nowhere.jsonl")
    assert (said.code, "nowhere.jsonl" in said.err) == (2, True)


def test_nothing_is_written(obm: Obm, folder: Path, request_file: RequestFile) -> None:
    path = request_file("a.jsonl")
    before = sorted(folder.rglob("*"))
    assert obm("estimate", path).code == 0
    assert sorted(folder.rglob("*")) == before


def test_the_rules_of_reading_are_those_of_the_settings(
    obm: Obm, request_file: RequestFile
) -> None:
    path = request_file("a.jsonl", [chat_line("big", text="x" * 2_000)])
    (file,) = obm("estimate", path, "--json", OBM_BATCH_MAX_BYTES="1000").json["files"]
    assert (file["accepted"], file["first_refusals"][0]["code"]) == (0, "line_too_large")
    assert RULES.largest_line_bytes > 2_000
