"""Assessing: from a number with bounds to a verdict. Measuring is :mod:`sluice_operator.rollout.readings`.

- ``Pass``: at least ``minSamples``, and the whole interval lies on the allowed side (the limit included).
- ``Fail``: at least ``minSamples``, and the whole interval lies beyond the limit.
- ``Inconclusive``: neither yet; the measurement says about how many samples are missing.
- ``Error``: evidence is missing or stale, a number is not finite, or the gate cannot be measured.

Worked example: stable answers .120, the candidate .125 of 2,000 events with a deviation of the difference of
.235, margin .02. Half-width .0161, so the interval is [−.0111, +.0211], all above −.02: ``Pass``.
"""

import math

from sluice.model import Gate, GateSource, GateStep, OnTimeout
from sluice_operator.rollout.observation import Observation, SnapshotInfo
from sluice_operator.rollout.readings import Absent, Reading, Scene, limits, reader
from sluice_operator.rollout.state import Measurement, RolloutState, Verdict, elapsed


def measure(gate: Gate, state: RolloutState, seen: Observation, now: float) -> Measurement:
    """Return a gate's verdict on the candidate at ``now`` (Unix seconds)."""
    read = reader(gate)
    if read is None:
        return _absent(gate, Verdict.ERROR, f"{gate.source} {gate.metric} cannot be measured this way")
    if gate.compare_to is None and limits(gate) == (-math.inf, math.inf):
        return _absent(gate, Verdict.ERROR, "the gate has neither min, max nor compareTo")
    found = read(gate, Scene(state, seen, now))
    if isinstance(found, Absent):
        return _absent(gate, found.verdict, found.reason)
    return _assess(gate, found, now)


def measure_all(
    gates: tuple[Gate, ...], state: RolloutState, seen: Observation, now: float
) -> tuple[Measurement, ...]:
    """Return every gate's verdict, in the order of the spec."""
    return tuple(measure(gate, state, seen, now) for gate in gates)


def snapshot_refusal(gates: tuple[Gate, ...], snapshot: SnapshotInfo) -> str | None:
    """Return why the Snapshot gates do not let a snapshot through; None if they all pass. ``dryRun`` is no gate."""
    for gate in gates:
        if gate.source != GateSource.SNAPSHOT or gate.dry_run:
            continue
        seen = Observation(spec_hash="", snapshots=(snapshot,))
        measured = measure(gate, RolloutState(candidate=snapshot.id), seen, 0.0)
        if measured.verdict != Verdict.PASS:
            return f"gate {gate.name}: {measured.reason}"
    return None


def failed(measurements: tuple[Measurement, ...]) -> Measurement | None:
    """Return the first gate that failed and counts; None if none did."""
    return next((each for each in measurements if each.verdict == Verdict.FAIL and not each.dry_run), None)


def undecided(step: GateStep, measurements: tuple[Measurement, ...]) -> tuple[Measurement, ...]:
    """Return the gates a gate step still waits for. A name that no gate has can never pass."""
    known = {each.gate: each for each in measurements}
    absent = [
        Measurement(gate=name, verdict=Verdict.ERROR, reason="no such gate in spec.rollout.gates")
        for name in step.names
        if name not in known
    ]
    named = [known[name] for name in step.names if name in known]
    return (*absent, *(each for each in named if each.verdict != Verdict.PASS and not each.dry_run))


def timeout_effect(gates: tuple[Gate, ...], waiting: tuple[Measurement, ...]) -> OnTimeout:
    """Return the strictest ``onTimeout`` of the gates waited for: Rollback before Pause before Proceed."""
    effects = {gate.name: gate.on_timeout for gate in gates}
    asked = {effects.get(each.gate, OnTimeout.PAUSE) for each in waiting}
    strictest = (OnTimeout.ROLLBACK, OnTimeout.PAUSE)
    return next((effect for effect in strictest if effect in asked), OnTimeout.PROCEED)


def _absent(gate: Gate, verdict: Verdict, reason: str) -> Measurement:
    missing = gate.min_samples if verdict == Verdict.INCONCLUSIVE else None
    return Measurement(
        gate=gate.name, verdict=verdict, reason=reason, missing_samples=missing, dry_run=gate.dry_run
    )


def _assess(gate: Gate, found: Reading, now: float) -> Measurement:
    verdict = _verdict(gate, found)
    missing = _missing(gate, found) if verdict == Verdict.INCONCLUSIVE else None
    seconds = _seconds(missing, found, now)
    value, lower, upper = (bound if math.isfinite(bound) else None for bound in found.interval)
    return Measurement(
        gate=gate.name,
        verdict=verdict,
        reason=_reason(found, verdict, missing, seconds),
        value=value,
        lower=lower,
        upper=upper,
        threshold=_threshold(found),
        samples=found.samples,
        missing_samples=missing,
        missing_s=seconds,
        dry_run=gate.dry_run,
    )


def _verdict(gate: Gate, found: Reading) -> Verdict:
    value, lower, upper = found.interval
    if not math.isfinite(value):
        return Verdict.ERROR
    if found.samples < gate.min_samples:
        return Verdict.INCONCLUSIVE
    if lower >= found.floor and upper <= found.ceiling:
        return Verdict.PASS
    return Verdict.FAIL if upper < found.floor or lower > found.ceiling else Verdict.INCONCLUSIVE


def _threshold(found: Reading) -> float | None:
    """Return the limit that matters: the only one, or of two the one nearer to the value."""
    bounds = [bound for bound in (found.floor, found.ceiling) if math.isfinite(bound)]
    return min(bounds, key=lambda bound: abs(bound - found.interval.value), default=None)


def _missing(gate: Gate, found: Reading) -> int | None:
    """Return about how many more samples would decide; None if the value lies on the limit, so nobody can say."""
    if found.needed is None:
        return gate.min_samples - found.samples if found.samples < gate.min_samples else None
    return max(found.needed, gate.min_samples, found.samples + 1) - found.samples


def _seconds(missing: int | None, found: Reading, now: float) -> float | None:
    """Return how long the missing samples take at the pace so far."""
    running = elapsed(found.since, now)
    if missing is None or running <= 0.0 or found.samples <= 0:
        return None
    return round(missing * running / found.samples, 1)


def _reason(found: Reading, verdict: Verdict, missing: int | None, seconds: float | None) -> str:
    value, lower, upper = found.interval
    limit, numbers = _threshold(found), f"{found.what} {value:.4g}"
    if lower != upper:
        numbers += f" [{lower:.4g}, {upper:.4g}] after {found.samples} samples"
    numbers += f", limit {limit:.4g}" if limit is not None else ""
    return f"{numbers}; {needs(missing, seconds)}" if verdict == Verdict.INCONCLUSIVE else numbers


def needs(missing: int | None, seconds: float | None) -> str:
    """Return what is missing in words: ``needs about 800 more samples, ~4 min``."""
    if missing is None:
        return "too close to the limit to say how many samples are missing"
    words = f"needs about {_rounded(missing)} more samples"
    if seconds is None:
        return words
    return f"{words}, ~{seconds:.0f} s" if seconds < 120 else f"{words}, ~{seconds / 60:.0f} min"


def _rounded(count: int) -> int:
    """Return a count with two significant digits, rounded up."""
    unit = int(10 ** max(len(str(count)) - 2, 0))
    return -(-count // unit) * unit
