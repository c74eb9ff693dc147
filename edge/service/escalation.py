"""How asking the cloud goes: for those who look, and for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import Field

from edge.escalation.breaker import BreakerState
from edge.escalation.figures import EscalationFigures
from edge.escalation.settings import BudgetSettings
from edge.service.hub import Hub
from stream.http.endpoints import Call, Endpoint, Result, Wire

Count = dict[str, int]


class AgreementAnswer(Wire):
    """How far detector and refiner agree about the objects of one class before one camera."""

    camera: str
    class_name: str = Field(alias="class", description="What the detector says.")
    count: int = Field(description="Answers that could be compared.")
    mean: float = Field(description="Of all of them, 0 to 1.")
    recent: float = Field(description="Of the last 200.")


class BudgetAnswer(Wire):
    """What may be spent; null: as much as is wanted."""

    requests_per_s: float | None
    bytes_per_s: int | None
    bytes_per_hour: int | None
    items_per_day: int | None
    in_flight: int


class EscalationAnswer(Wire):
    """How asking the cloud goes, in counts since the start."""

    enabled: bool = Field(description="Whether tracks are looked at for what is worth asking; if not, all is zero.")
    shadow: bool = Field(description="Whether nothing is sent, and what would be is counted; cameras may differ.")
    state: str = Field(description="closed: it is asked; open: it is away; half_open: it is tried; refused: no entry.")
    reason: str = Field(description="Why, while all is not well.")
    decided: int = Field(description="Tracks that were looked at.")
    chosen: Count = Field(description="Of these to be sent, by cause.")
    refused: Count = Field(description="And not to be sent, by cause.")
    would_send: int = Field(description="Crops that were only reported.")
    asked: int = Field(description="Crops that were put into the queue.")
    sent: int = Field(description="Crops that went out, tries again included.")
    sent_bytes: int
    requests: int
    answered: int = Field(description="Crops that got an answer: refined ones, and errors.")
    refined: int = Field(description="Answers with a label.")
    errors: int = Field(description="Answers that say what went wrong.")
    late: int = Field(description="Labels that came after their track was over.")
    unshown: int = Field(description="Labels that are too unsure to be shown.")
    waiting: int = Field(description="Crops in the queue now.")
    waiting_bytes: int
    failures: Count = Field(description="Requests that failed, by cause.")
    held: Count = Field(description="How often a budget kept a request waiting, by limit.")
    dropped: Count = Field(description="Crops that will never be answered, by cause.")
    budget: BudgetAnswer
    agreement: float | None = Field(description="Of all classes and cameras lately, 0 to 1; null before any answer.")
    agreements: tuple[AgreementAnswer, ...] = Field(description="By camera and class.")


class EscalationRoom:
    """The endpoint about asking the cloud."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                "/escalation",
                self.figures,
                "How asking the cloud goes",
                answers={200: EscalationAnswer},
                tag="figures",
            )
        ]

    async def figures(self, _: Call) -> Result:
        # the queue's depth is read from the disk
        found = await asyncio.get_running_loop().run_in_executor(None, self._hub.running.assembly.escalation)
        settings = self._hub.running.settings.escalation
        return escalation_answer(found, shadow=settings.shadow, budget=settings.budget)


def escalation_answer(found: EscalationFigures | None, *, shadow: bool, budget: BudgetSettings) -> EscalationAnswer:
    """What is said of these figures; None where nobody asks."""
    figures = found or EscalationFigures()
    return EscalationAnswer(
        enabled=found is not None,
        shadow=shadow,
        state=figures.state,
        reason=figures.reason,
        decided=figures.decided,
        chosen=dict(figures.chosen),
        refused=dict(figures.refused),
        would_send=figures.would_send,
        asked=figures.asked,
        sent=figures.sent,
        sent_bytes=figures.sent_bytes,
        requests=figures.requests,
        answered=figures.answered,
        refined=figures.refined,
        errors=figures.errors,
        late=figures.late,
        unshown=figures.unshown,
        waiting=figures.spooled,
        waiting_bytes=figures.spooled_bytes,
        failures=dict(figures.failures),
        held=dict(figures.held),
        dropped=dict(figures.dropped),
        budget=BudgetAnswer.model_validate(budget.model_dump()),
        agreement=figures.agreement_of(),
        agreements=agreements_of(figures),
    )


def agreements_of(figures: EscalationFigures) -> tuple[AgreementAnswer, ...]:
    """By camera and class, in their order."""
    return tuple(
        AgreementAnswer(
            camera=camera, class_name=name, count=each.count, mean=round(each.mean, 4), recent=round(each.recent, 4)
        )
        for (camera, name), each in sorted(figures.agreement.items())
    )


def escalation_families(figures: EscalationFigures) -> Iterator[Metric]:
    """The same for Prometheus."""
    yield _counter("decided", "Tracks that were looked at.", figures.decided)
    yield _counter("asked", "Crops that were put into the queue.", figures.asked)
    yield _counter("would_send", "Crops that were only reported.", figures.would_send)
    yield _counter("requests", "Requests to the cloud.", figures.requests)
    yield _counter("sent", "Crops that went out, tries again included.", figures.sent)
    yield _counter("sent_bytes", "Bytes of requests.", figures.sent_bytes)
    yield _counter("refined", "Crops answered with a label.", figures.refined)
    yield _counter("errors", "Crops answered with an error.", figures.errors)
    yield _counter("late", "Labels that came after their track was over.", figures.late)
    yield _counter("unshown", "Labels that are too unsure to be shown.", figures.unshown)
    yield _by_cause("chosen", "Tracks to be sent, by cause.", figures.chosen)
    yield _by_cause("refused", "Tracks not to be sent, by cause.", figures.refused)
    yield _by_cause("failures", "Requests that failed, by cause.", figures.failures)
    yield _by_cause("held", "How often a budget kept a request waiting, by limit.", figures.held)
    yield _by_cause("dropped", "Crops that will never be answered, by cause.", figures.dropped)
    yield GaugeMetricFamily("videodisco_escalation_waiting", "Crops in the queue.", figures.spooled)
    yield GaugeMetricFamily("videodisco_escalation_waiting_bytes", "Their bytes.", figures.spooled_bytes)
    yield _states(figures)
    yield from _agreements(figures)


def _states(figures: EscalationFigures) -> Metric:
    family = GaugeMetricFamily("videodisco_escalation_state", "1 for the breaker's state.", labels=["state"])
    for each in BreakerState:
        family.add_metric([each.value], float(figures.state == each.value))
    return family


def _agreements(figures: EscalationFigures) -> Iterator[Metric]:
    labels = ["camera", "class"]
    recent = GaugeMetricFamily(
        "videodisco_escalation_agreement", "How far edge and cloud agreed lately, 0 to 1.", labels=labels
    )
    compared = CounterMetricFamily("videodisco_escalation_compared", "Answers that could be compared.", labels=labels)
    for pair, each in figures.agreement.items():
        recent.add_metric(pair, each.recent)
        compared.add_metric(pair, each.count)
    yield from (recent, compared)


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"videodisco_escalation_{name}", text, value)


def _by_cause(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"videodisco_escalation_{name}", text, labels=["cause"])
    for cause, count in counts.items():
        family.add_metric([cause], count)
    return family
