import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.errors import BadInput
from batching.jobs import JobSettings, job_name_of, read_job_settings, side_file_name, slug


def test_an_empty_side_file_changes_nothing() -> None:
    assert read_job_settings(b"{}") == JobSettings()
    assert read_job_settings(b"\xef\xbb\xbf{}") == JobSettings()


def test_a_side_file_sets_label_destination_wait_and_table_defaults() -> None:
    settings = read_job_settings(
        b'{"label":"L","delivery_config":{"type":"file"},"max_wait_seconds":60,'
        b'"endpoint":"/v1/embeddings","model":"m","parameters":{"dimensions":8}}'
    )
    assert (settings.label, settings.max_wait_seconds) == ("L", 60)
    assert (settings.url, settings.model) == ("/v1/embeddings", "m")
    assert settings.parameters == {"dimensions": 8}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "must be a JSON object"),
        (b"\xff", "JSON"),
        (b'{"lable":"x"}', "lable: is not a known key"),
        (b'{"label":7}', "label: must be a string"),
        (b'{"label":" "}', "visible"),
        (b'{"label":"a\\nb"}', "visible"),
        (b'{"max_wait_seconds":"60"}', "max_wait_seconds"),
        (b'{"max_wait_seconds":-1}', "max_wait_seconds"),
        (b'{"url":"/v1/videos"}', "must be one of"),
        (b'{"delivery_config":{"type":"file","x":1}}', "delivery_config.x"),
        (b'{"parameters":{"model":"m"}}', "parameters: model"),
        (b'{"custom_id":"hash"}', "custom_id"),
    ],
)
def test_a_faulty_side_file_is_refused_with_its_fault(text: bytes, words: str) -> None:
    with pytest.raises(BadInput, match="side file") as caught:
        read_job_settings(text)
    assert words in str(caught.value)


def test_all_faults_of_a_side_file_are_named_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        read_job_settings(b'{"x":1,"label":"","max_wait_seconds":-2,"url":"u"}')
    for name in ("x", "label", "max_wait_seconds", "url"):
        assert f"{name}: " in str(caught.value)


@pytest.mark.parametrize(
    ("file_name", "job", "side_file"),
    [
        ("x.jsonl", "x", "x.job.json"),
        ("x.jsonl.gz", "x", "x.job.json"),
        ("X.JSONL.ZST", "X", "X.job.json"),
        ("a.b.csv", "a.b", "a.b.job.json"),
        ("x.parquet", "x", "x.job.json"),
        ("notes.txt", "notes.txt", "notes.txt.job.json"),
        (".jsonl", "default", ".job.json"),
        ("日本.ndjson", "日本", "日本.job.json"),
    ],
)
def test_a_job_is_named_after_its_file(file_name: str, job: str, side_file: str) -> None:
    assert job_name_of(file_name) == job
    assert side_file_name(file_name) == side_file


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Big Job (May)", "big-job-may"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "job"),
        ("", "job"),
        ("日本", "job"),
        ("Ärger.v2", "arger.v2"),
        ("x" * 300, "x" * 80),
    ],
)
def test_a_slug_is_a_safe_folder_name(name: str, folder: str) -> None:
    assert slug(name) == folder


@given(st.text())
def test_no_name_makes_a_dangerous_slug(name: str) -> None:
    folder = slug(name)
    assert 1 <= len(folder) <= 80
    assert folder.isascii()
    assert folder[0] not in ".-"
    assert not set(folder) & set("/\\: \0")
