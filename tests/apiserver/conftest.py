"""What the sender's tests share."""

import pytest
from leaping import Leaping


@pytest.fixture
def clock() -> Leaping:
    return Leaping()
