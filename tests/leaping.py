"""A clock whose sleeps end at once, and are remembered: for schedules that a test wants to see, not to wait for."""


class Leaping:
    """A `Clock` for schedules: `sleep` moves its time and returns."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def wall_ns(self) -> int:
        return int(self.now * 1e9)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
