"""What the dashboard shows: rows of panels, each with the question that it answers and its queries.

The rows follow an incident: is it up, is it fast, is it full, where does the time go, what runs where, memory. Panels
read recorded series of ``deploy/prometheus/rules.yaml`` where there are any.
"""

from dataclasses import dataclass
from typing import Literal

_SELECTED = 'namespace=~"$namespace", job="$job"'
_IMAGE_ROUTES = 'route=~"/generate|/interpolate|/images/.*|/v2/.*/infer"'
_REJECTED = 'code=~"4..|5.."'

GREEN, ORANGE, RED = "green", "orange", "red"

WIDTH = 24
"""Columns of Grafana's grid."""


@dataclass(frozen=True)
class Query:
    """One PromQL expression. ``legend`` may name labels: ``{{route}}``."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel. ``steps`` are the values from which a colour holds; the first holds from minus infinity."""

    title: str
    question: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Literal["stat", "timeseries", "state-timeline", "table"] = "timeseries"
    width: int = 8
    stacked: bool = False
    largest: float | None = None
    steps: tuple[tuple[str, float | None], ...] = ((GREEN, None),)

    @property
    def height(self) -> int:
        return 4 if self.kind == "stat" else 8


def _selected(metric: str, *matchers: str) -> str:
    return f"{metric}{{{', '.join((_SELECTED, *matchers))}}}"


def _rate(metric: str, *matchers: str) -> str:
    return f"rate({_selected(metric, *matchers)}[$__rate_interval])"


def _mean(histogram: str) -> str:
    return f"sum({_rate(histogram + '_sum')}) / sum({_rate(histogram + '_count')})"


_GOOD_IF_ALL = ((RED, None), (GREEN, 1))
_GOOD_IF_NONE = ((GREEN, None), (RED, 1))
_BURN = ((GREEN, None), (ORANGE, 1), (RED, 14.4))

ROWS: dict[str, tuple[Panel, ...]] = {
    "Is it up?": (
        Panel(
            "Instances",
            "How many answer Prometheus, are alive (/livez) and are ready (/readyz)?",
            (
                Query(f"sum({_selected('up')})", "up"),
                Query(f"sum({_selected('figment_alive')})", "alive"),
                Query(f"sum({_selected('figment_ready')})", "ready"),
            ),
            kind="stat",
            steps=_GOOD_IF_ALL,
        ),
        Panel(
            "Alerts",
            "How many alerts fire? docs/operations.md says what to do about each.",
            (Query('count(ALERTS{alertname=~"Figment.*", alertstate="firing"}) or vector(0)', "firing"),),
            kind="stat",
            steps=_GOOD_IF_NONE,
        ),
        Panel(
            "Budget burn, last hour",
            "How many times faster than allowed is the error budget spent? From 14.4 on, it is an alert.",
            (Query(_selected("job:figment_budget_burn:rate1h"), "{{objective}}"),),
            kind="stat",
            steps=_BURN,
        ),
        Panel(
            "Ready",
            "When was which instance ready?",
            (Query(_selected("figment_ready"), "{{instance}}"),),
            kind="state-timeline",
            width=12,
            steps=_GOOD_IF_ALL,
        ),
        Panel(
            "Budget burn",
            "Is it getting better? The last five minutes against the last hour.",
            (
                Query(_selected("job:figment_budget_burn:rate5m"), "{{objective}}, 5 min"),
                Query(_selected("job:figment_budget_burn:rate1h"), "{{objective}}, 1 h"),
            ),
            width=12,
            steps=_BURN,
        ),
    ),
    "Is it fast?": (
        Panel(
            "Duration, p50",
            "From a request's arrival to the end of its response.",
            (Query(_selected("job_route:figment_request_duration_seconds:p50_5m", _IMAGE_ROUTES), "{{route}}"),),
            unit="s",
        ),
        Panel(
            "Duration, p99",
            "From a request's arrival to the end of its response.",
            (Query(_selected("job_route:figment_request_duration_seconds:p99_5m", _IMAGE_ROUTES), "{{route}}"),),
            unit="s",
        ),
        Panel(
            "Requests",
            "How many requests for images are answered?",
            (Query(_selected("job_route:figment_requests:rate5m", _IMAGE_ROUTES), "{{route}}"),),
            unit="reqps",
        ),
    ),
    "Is it full?": (
        Panel(
            "Queue wait",
            "How long does a request wait for its first batch?",
            (
                Query(_selected("job_model:figment_queue_wait_seconds:p50_5m"), "{{model}}, p50"),
                Query(_selected("job_model:figment_queue_wait_seconds:p99_5m"), "{{model}}, p99"),
            ),
            unit="s",
            width=6,
        ),
        Panel(
            "Queued images",
            "How many images wait for a batch?",
            (Query(f"sum by (model) ({_selected('figment_queued_images')})", "{{model}}"),),
            width=6,
        ),
        Panel(
            "Work that waits",
            "How long would the queue take at the present pace? Above 5 s for five minutes, it is an alert.",
            (Query(_selected("job_model:figment_queue_seconds:avg5m"), "{{model}}"),),
            unit="s",
            width=6,
            steps=((GREEN, None), (ORANGE, 5)),
        ),
        Panel(
            "Dropped images",
            "Which images were asked for and never generated, per second?",
            (Query(f"sum by (reason) ({_rate('figment_dropped_images_total')})", "{{reason}}"),),
            width=6,
        ),
        Panel(
            "Rejections and errors",
            "Which statuses are sent? 429: the queue is full. 5xx: not ready, draining, too late, or a fault.",
            (Query(f"sum by (code) ({_rate('figment_requests_total', _REJECTED)})", "{{code}}"),),
            unit="reqps",
            width=WIDTH,
        ),
    ),
    "Where does the time go?": (
        Panel(
            "Mean time",
            "Where is most of it? Compare it with the row above: only the queue grows with the load.",
            (
                Query(_mean("figment_queue_wait_seconds"), "queue, per request"),
                Query(_mean("figment_inference_seconds"), "inference, per batch"),
                Query(_mean("figment_encode_seconds"), "encoding, per image"),
            ),
            unit="s",
            width=6,
            stacked=True,
        ),
        Panel(
            "Batches on the device",
            "How many run at once, on average? A GPU runs one, a CPU one for each core: at that number it is full.",
            (
                Query(
                    f"sum by (instance, provider) ({_rate('figment_inference_seconds_sum')})",
                    "{{instance}} {{provider}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Images in a batch",
            "Are batches large?",
            (
                Query(
                    f"sum by (model) ({_rate('figment_batch_images_sum')})"
                    f" / sum by (model) ({_rate('figment_batch_images_count')})",
                    "{{model}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Padding",
            "Which share of the computed images only fills a batch up to its bucket?",
            (
                Query(
                    f"sum by (model) ({_rate('figment_batch_padding_images_total')})"
                    f" / (sum by (model) ({_rate('figment_batch_padding_images_total')})"
                    f" + sum by (model) ({_rate('figment_batch_images_sum')}))",
                    "{{model}}",
                ),
            ),
            unit="percentunit",
            width=6,
            largest=1,
        ),
    ),
    "What runs where?": (
        Panel(
            "Models",
            "Which versions are loaded, on which device?",
            (Query(_selected("figment_model_info"), ""),),
            kind="table",
            width=12,
        ),
        Panel(
            "Images",
            "What is asked for?",
            (
                Query(
                    f"sum by (model, version, format) ({_rate('figment_images_total')})",
                    "{{model}}/{{version}} {{format}}",
                ),
            ),
            unit="ops",
            width=12,
        ),
        Panel(
            "Rejected bundles",
            "How many bundles cannot be served? /readyz lists each with its reason.",
            (Query(f"max({_selected('figment_rejected_bundles')})", "rejected"),),
            kind="stat",
            width=6,
            steps=((GREEN, None), (ORANGE, 1)),
        ),
        Panel(
            "On the CPU in spite of a GPU",
            "How many instances were built for a GPU, and found none that works?",
            (Query(f"sum({_selected('figment_device_fallback')})", "instances"),),
            kind="stat",
            width=6,
            steps=((GREEN, None), (ORANGE, 1)),
        ),
        Panel(
            "Last poll of the bundles",
            "How long ago was the folder read? Without FIGMENT_RELOAD_SECONDS: at the start, and never again.",
            (Query(f"time() - min({_selected('figment_reload_last_success_timestamp_seconds')})", "ago"),),
            unit="s",
            kind="stat",
            width=6,
        ),
        Panel(
            "Failed polls, last hour",
            "How often could the folder of bundles not be read?",
            (Query(f"sum(increase({_selected('figment_reload_failures_total')}[1h]))", "failed"),),
            kind="stat",
            width=6,
            steps=((GREEN, None), (ORANGE, 1)),
        ),
    ),
    "Memory and restarts": (
        Panel(
            "Memory",
            "Does it grow? Resident memory of the workers of each instance.",
            (Query(_selected("process_resident_memory_bytes"), "{{instance}}"),),
            unit="bytes",
            width=6,
        ),
        Panel(
            "Open files",
            "Which share of the open files that are allowed is used? Every connection is one.",
            (Query(f"{_selected('process_open_fds')} / {_selected('process_max_fds')}", "{{instance}}"),),
            unit="percentunit",
            width=6,
            largest=1,
        ),
        Panel(
            "Time since the last start",
            "Which instance is new?",
            (Query(f"time() - {_selected('process_start_time_seconds')}", "{{instance}}"),),
            unit="s",
            width=6,
        ),
        Panel(
            "Restarts in an hour",
            "Which instance does not stay up?",
            (Query(f"changes({_selected('process_start_time_seconds')}[1h])", "{{instance}}"),),
            width=6,
        ),
    ),
}
