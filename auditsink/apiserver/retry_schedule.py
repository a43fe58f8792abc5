"""How often and when kube-apiserver posts a batch again. Pure: answers and times in, waits out.

From client-go and apiserver's webhook (v0.36): a batch has 5 attempts, with waits of 10, 15, 22.5 and 33.75 s
(each times 1.0 to 1.2) between them. An attempt may take 30 s in all; within it an answer 429 or 5xx that carries
an integer Retry-After is followed, up to 10 times. What the fifth attempt does not deliver is dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

ATTEMPTS = 5
FIRST_WAIT = 10.0
FACTOR = 1.5
JITTER = 0.2
ATTEMPT_SECONDS = 30.0
RETRIES_WITHIN_ATTEMPT = 10


@dataclass(frozen=True, slots=True)
class PostResult:
    """What one request came to. `status` 0: no answer at all, `problem` says why; `tls`: because TLS failed.

    kube-apiserver looks at no answer's content. Ours holds how many events were `accepted` (None: it does not say),
    whether the sink had them already (`repeated`), or why it did not take them (`said`).
    """

    status: int
    retry_after: int | None = None
    problem: str = ""
    tls: bool = False
    accepted: int | None = field(default=None, compare=False)
    repeated: bool = field(default=False, compare=False)
    said: str = field(default="", compare=False)

    @property
    def taken(self) -> bool:
        """Whether kube-apiserver counts it as a success."""
        return 200 <= self.status <= 206 and not self.problem

    @property
    def asks_to_wait(self) -> bool:
        """Whether client-go follows its Retry-After inside the attempt."""
        return self.retry_after is not None and (self.status == 429 or self.status >= 500)

    def __str__(self) -> str:
        return self.problem or f"HTTP {self.status}{f' ({self.said})' if self.said else ''}"


class RetrySchedule:
    """The attempts that one batch has left. `random` gives 0.0 to 1.0."""

    def __init__(self, now: float, random: Callable[[], float]) -> None:
        self.attempt = 1
        self._random = random
        self._within = 0
        self._wait = FIRST_WAIT
        self._deadline = now + ATTEMPT_SECONDS

    def seconds_left(self, now: float) -> float:
        """How long the request that starts now may take."""
        return max(0.0, self._deadline - now)

    def after(self, failure: PostResult, now: float) -> float | None:
        """Seconds to wait before the next request, or None: the batch is given up."""
        if failure.asks_to_wait and self._within < RETRIES_WITHIN_ATTEMPT:
            assert failure.retry_after is not None
            self._within += 1
            if now + failure.retry_after < self._deadline:
                return float(failure.retry_after)
            return self._next_attempt(now, wasted=self.seconds_left(now))  # the attempt's time runs out in that wait
        return self._next_attempt(now, wasted=0.0)

    def _next_attempt(self, now: float, wasted: float) -> float | None:
        if self.attempt == ATTEMPTS:
            return None
        wait = wasted + self._wait * (1 + JITTER * self._random())
        self.attempt += 1
        self._within = 0
        self._wait *= FACTOR
        self._deadline = now + wait + ATTEMPT_SECONDS
        return wait
