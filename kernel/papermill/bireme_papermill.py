"""Teaches papermill how parameters are written in notebooks of the Bireme kernel: `%param NAME = VALUE`.

papermill has no entry point for translators, only one for engines: that it loads ours is what registers
the translator. The engine itself is papermill's own.
"""

import json
import math
import re

from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillException
from papermill.models import Parameter
from papermill.translators import Translator, papermill_translators

KERNEL = "bireme"
PARAMETER = re.compile(r"^%param\s+(?P<name>\w+)\s*=\s*(?P<value>.*?)\s*;?\s*$")


class BiremeTranslator(Translator):
    """Parameters as `%param` lines. A value is a number, a truth value, nothing, or text."""

    @classmethod
    def translate_str(cls, val):
        return json.dumps(val, ensure_ascii=False)

    translate_escaped_str = translate_str

    @classmethod
    def translate_none(cls, val):
        return "null"

    @classmethod
    def translate_float(cls, val):
        if not math.isfinite(val):
            raise PapermillException(f"set a parameter to {val}: a %param is a finite number")
        return repr(val)

    @classmethod
    def translate_dict(cls, val):
        raise PapermillException(f"set a parameter to {val!r}: a %param is a number, true, false, null or text")

    translate_list = translate_dict

    @classmethod
    def codify(cls, parameters, comment="Parameters"):
        # A comment would be Rust, and a cell of magics alone needs no compiler.
        return "".join(f"%param {name} = {cls.translate(value)}\n" for name, value in parameters.items())

    @classmethod
    def inspect(cls, parameters_cell):
        found = (PARAMETER.match(line) for line in parameters_cell["source"].splitlines())
        return [Parameter(line["name"], "None", line["value"], "") for line in found if line]


class BiremeEngine(NBClientEngine):
    """papermill's own engine, under the kernel's name."""


papermill_translators.register(KERNEL, BiremeTranslator)
