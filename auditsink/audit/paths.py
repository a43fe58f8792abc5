"""Paths to pieces of an event, as written in `drop_fields`: `requestObject.items[*].metadata["a.b/c"]`. Pure."""

import re

EACH = None
"""The step `[*]`: every element of an array, every member of an object."""
Step = str | None

_STEP = re.compile(r'\.?(?:([^.\[\]"*]+)|(\[\*\])|\["((?:[^"\\])+)"\])')
_KEPT = {"level", "auditID", "stage", "verb", "requestReceivedTimestamp", "stageTimestamp"}
_MOST_STEPS = 20


def parse(text: str) -> tuple[Step, ...]:
    """The steps from the event inwards. Raises ValueError: a sentence that stands after the key's path."""
    steps: list[Step] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None or (text[position] == ".") != (position > 0 and match[1] is not None):
            raise ValueError('is no path; write it like requestObject.items[*].metadata.annotations["example.com/key"]')
        steps.append(EACH if match[2] else match[1] or match[3])
        position = match.end()
    if not steps or steps[0] is EACH or len(steps) > _MOST_STEPS:
        raise ValueError(f"must begin with the name of a field and have at most {_MOST_STEPS} steps")
    if len(steps) == 1 and steps[0] in _KEPT:
        raise ValueError("is what makes an event one; it cannot be dropped")
    return tuple(steps)
