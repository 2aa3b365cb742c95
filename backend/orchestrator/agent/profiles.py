"""The dialects of CodeAct: how a model is told to act, how it writes an action, how it reads a result.

A profile is chosen once per model, by name or by setting. Adding one means adding a class and a row to `_PROFILES`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.agent.actions import Decoder
from orchestrator.agent.decoders.codeact import CodeActDecoder
from orchestrator.agent.decoders.fenced import FencedDecoder
from orchestrator.agent.decoders.tools import TOOL, ToolsDecoder
from orchestrator.agent.signals import Message
from orchestrator.protocol.events import StepClosed

CODEACT_SYSTEM = """\
A curious user talks with a capable assistant that acts by writing Python. The assistant has a Jupyter kernel and runs \
code by putting it between the tags <execute> and </execute>, for example: <execute> print("Hello") </execute>. The output \
comes back in the next message.
The kernel keeps variables, imports and functions from one block to the next, and files in the working directory. numpy, \
pandas, matplotlib, scipy, sympy, scikit-learn, requests and pillow are installed; {network}. Show values with \
print() or as the last expression; plt.show() shows a figure to the user.
The assistant does one small step per block, imports and defines names before it uses them, reads the output, and mends \
its code when it fails. It runs code instead of showing it, and never writes an output itself. As soon as the result is \
known it stops executing and answers the user in plain, concise prose without tags."""

FENCED_SYSTEM = """\
You are CodeAct, an open-source assistant that solves the user's questions by running Python. Begin every reply to a \
question with one code block; it is run for you, and its output comes back in a message. Then reply with the answer in \
short plain prose or, if the code failed, with a corrected code block. Example:

User: What is the mean area?
city,area
Oslo,454
Rome,1285
Assistant:
```python
import io
import pandas as pd
data = \"\"\"city,area
Oslo,454
Rome,1285\"\"\"
table = pd.read_csv(io.StringIO(data))
print(table["area"].mean())
```
User: {prefix}
869.5
Assistant: The mean area is 869.5.

Never calculate in your head or guess an output. Copy data from the message into the code; there are no files but \
those you write. Use the functions of numpy, pandas, scipy, sympy and scikit-learn. Variables and imports stay from \
block to block. Show values with print(); plt.show() shows a figure to the user. {network}."""
"""`{prefix}` stands for the line that observations begin with, `{network}` for what code can reach."""

ALONE = "there is no network"
REACHES = "%pip install works, few other hosts can be reached"

TOOLS_SYSTEM = """\
You are a helpful assistant that works by running Python with the tool execute_python: a Jupyter kernel that keeps \
variables, imports and files between calls. Use print() or a last expression to see values; plt.show() shows a figure to \
the user. numpy, pandas, matplotlib, scipy, sympy, scikit-learn, requests and pillow are installed; {network}.
Whatever can be computed, compute with code, in small steps; never guess a result. If code fails, correct it and run it \
again. When you have the result, answer the user in short plain prose."""

TOOL_DEFINITION: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": TOOL,
        "description": "Run Python code in the conversation's Jupyter kernel and return what it puts out.",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "The Python code to run."}},
            "required": ["code"],
            "additionalProperties": False,
        },
    },
}


class Profile(Protocol):
    """`stop`: strings the server is asked to stop at. `tools`: OpenAI tool definitions. `remind`: how to write code, said
    when a message could not be used."""

    @property
    def name(self) -> str: ...
    @property
    def stop(self) -> tuple[str, ...]: ...
    @property
    def tools(self) -> tuple[dict[str, Any], ...]: ...
    @property
    def system(self) -> str: ...
    @property
    def remind(self) -> str: ...

    def decoder(self) -> Decoder:
        """A new decoder, for one message of the model."""
        ...

    def assistant(self, step: StepClosed) -> list[Message]:
        """What the model wrote, as it is sent back: byte for byte. Nothing if it wrote nothing."""
        ...

    def observation(self, text: str, step: StepClosed) -> Message:
        """What became of the step's code, for the model."""
        ...


@dataclass(frozen=True, slots=True)
class TextProfile:
    """Code inside the message's text; observations are messages of the user."""

    name: str
    stop: tuple[str, ...]
    system: str
    remind: str
    prefix: str  # the line an observation begins with
    make_decoder: Callable[[], Decoder]
    tools: tuple[dict[str, Any], ...] = ()

    def decoder(self) -> Decoder:
        return self.make_decoder()

    def assistant(self, step: StepClosed) -> list[Message]:
        code = step.code
        text = step.prose + (code.opening + code.code + code.closing if code else "")
        return [{"role": "assistant", "content": text}] if text else []

    def observation(self, text: str, step: StepClosed) -> Message:
        return {"role": "user", "content": f"{self.prefix}\n{text}"}


@dataclass(frozen=True, slots=True)
class ToolsProfile:
    """Code in a tool call; observations are the tool's answer."""

    system: str
    name: str = "tools"
    stop: tuple[str, ...] = ()
    remind: str = f'Call {TOOL} with one JSON object, {{"code": "…"}}, that holds the Python code as a string.'
    tools: tuple[dict[str, Any], ...] = (TOOL_DEFINITION,)

    def decoder(self) -> Decoder:
        return ToolsDecoder()

    def assistant(self, step: StepClosed) -> list[Message]:
        if step.code is None:
            return [{"role": "assistant", "content": step.prose}] if step.prose else []
        arguments = json.dumps({"code": step.code.code}, ensure_ascii=False)
        call = {"id": step.code.cell, "type": "function", "function": {"name": TOOL, "arguments": arguments}}
        return [{"role": "assistant", "content": step.prose or None, "tool_calls": [call]}]

    def observation(self, text: str, step: StepClosed) -> Message:
        if step.code is None:
            return {"role": "user", "content": text}
        return {"role": "tool", "tool_call_id": step.code.cell, "content": text}


def codeact(prefix: str, network: str) -> Profile:
    """For the CodeActAgent models. ChatML's marks are stop strings, as their end-of-sequence token is not reliable."""
    prefixes = tuple(dict.fromkeys((prefix, "Execution Output:", "Observation:")))
    return TextProfile(
        name="codeact",
        stop=("</execute>", "<|im_end|>", "<|im_start|>"),
        system=CODEACT_SYSTEM.replace("{network}", network),
        remind="Put the code between <execute> and </execute>.",
        prefix=prefix,
        make_decoder=lambda: CodeActDecoder(prefixes),
    )


def fenced(prefix: str, network: str) -> Profile:
    """For any instruction-tuned model."""
    return TextProfile(
        name="fenced",
        stop=(),
        system=FENCED_SYSTEM.replace("{prefix}", prefix).replace("{network}", _sentence(network)),
        remind="End your message with one ```python block.",
        prefix=prefix,
        make_decoder=lambda: FencedDecoder((prefix,)),
    )


def tools(prefix: str, network: str) -> Profile:
    """For models and servers with reliable tool calling; the tool's answers need no prefix."""
    return ToolsProfile(system=TOOLS_SYSTEM.replace("{network}", network))


def _sentence(network: str) -> str:
    """As a sentence of its own."""
    return "No network" if network == ALONE else network


_PROFILES: dict[str, Callable[[str, str], Profile]] = {"codeact": codeact, "fenced": fenced, "tools": tools}


def profile_for(model_name: str, setting: str, observation_prefix: str, *, network: bool = False) -> Profile:
    """The profile that `setting` names; if empty, the one for the model's name. `network`: code reaches some hosts."""
    name = setting or ("codeact" if "codeact" in model_name.lower() else "fenced")
    return _PROFILES[name](observation_prefix, REACHES if network else ALONE)
