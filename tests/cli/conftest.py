"""Calling a command as a person does, in this process."""

import pytest
from calling import Call, Said

from auditsink import cli


@pytest.fixture
def auditsink(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: object) -> Said:
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return call
