"""Refuses a template whose slots, scenarios, strategy and response do not belong together."""

from __future__ import annotations

from instructrec.errors import UsageError
from instructrec.instructions._rendering import (
    SLOTS,
    Template,
    render,
    render_response,
    used_slots,
)
from instructrec.instructions.schema import (
    Context,
    Instruction,
    Intention,
    IntentionKind,
    Preference,
    Scenario,
    TaskForm,
)

STRATEGIES = ("direct", "turned-around", "relatedness", "chain-of-thought")
FAMILIES = ("A", "B", "C", "D", "E")

_RESPONSE_SLOTS = {
    "item": {"item"},
    "yes-no": {"answer"},
    "which": {"answer"},
    "preference": {"preference"},
    "query": {"query"},
    "history": {"history"},
    "preference+item": {"preference", "item"},
    "query+item": {"query", "item"},
    "history+item": {"history", "item"},
}
ASKS = tuple(_RESPONSE_SLOTS)

_TITLE, _TEXT, _WISH = "Zorbium", "Quexatine", "Vlimpor"
_ITEM, _ANSWER, _CONTEXT, _PROFILE = "Ybrandel", "Wuntho", "Krelvane", "Jostwick"
_CANDIDATES = ("Hulbrint", "Fendrova")


def template_faults(template: Template) -> list[str]:
    """What is wrong with a template, in words; empty when nothing is.

    Args:
        template: With the slots it declares.
    """
    faults = _form_faults(template) or _slot_faults(template)
    if faults:
        return faults
    singles = [single for scenario in template.scenarios for single in scenario.singles()]
    for single in singles:
        faults += [f"{single}: {fault}" for fault in _trial_faults(template, single)]
    return faults


def _form_faults(template: Template) -> list[str]:
    checks = [
        (template.family in FAMILIES, f"family {template.family!r} is none of {FAMILIES}"),
        (template.strategy in STRATEGIES, f"strategy {template.strategy!r} is none of its kind"),
        (template.asks in ASKS, f"asks {template.asks!r}, which is none of {', '.join(ASKS)}"),
        (bool(template.scenarios), "it has no scenario"),
    ]
    faults = [fault for holds, fault in checks if not holds]
    direct = template.asks in ("item", "yes-no", "which")
    if not faults and (template.strategy == "direct") != direct:
        faults.append(f"a {template.strategy} template cannot ask {template.asks!r}")
    return faults


def _slot_faults(template: Template) -> list[str]:
    prompt, response = used_slots(template.prompt), used_slots(template.response)
    used = prompt | response
    faults = [f"slot {name!r} is unknown" for name in sorted(used - set(SLOTS))]
    faults += [
        f"slot {name!r} is declared, not used" for name in template.slots if name not in used
    ]
    faults += [
        f"slot {name!r} is used, not declared" for name in sorted(used - set(template.slots))
    ]
    wanted = _RESPONSE_SLOTS[template.asks]
    if {name if name != "intention" else "query" for name in response} != wanted:
        faults.append(f"it asks {template.asks!r}, but its response holds {sorted(response)}")
    return faults


def _trial_faults(template: Template, single: Scenario) -> list[str]:
    """Render the scenario with made-up words and look where they turn up."""
    instruction = _trial(single)
    extra = {"answer": _ANSWER}
    try:
        prompt = render(template, instruction, item=_ITEM, extra=extra).text
        response = render_response(template, instruction, item=_ITEM, **extra)
    except UsageError as error:
        return [error.what]
    shown = prompt + "\n" + response
    (preference,), (intention,), (task,) = single.axes
    parts = {
        "history": ("P1" in preference, _TITLE),
        "preference": ("P2" in preference, _TEXT),
        "intention": (intention != "I0", _WISH),
        "candidate": (task == TaskForm.POINTWISE, _CANDIDATES[0]),
        "first": (task == TaskForm.PAIRWISE, _CANDIDATES[0]),
        "second": (task == TaskForm.PAIRWISE, _CANDIDATES[1]),
        "candidates": (task == TaskForm.RERANKING, _CANDIDATES[1]),
    }
    faults = [f"{name} is not told" for name, (due, word) in parts.items() if due > (word in shown)]
    if task == TaskForm.MATCHING and any(word in shown for word in _CANDIDATES):
        faults.append("a matching task shows candidates")
    if template.strategy == "direct" and _ITEM in prompt:
        faults.append("the prompt gives the item away")
    faults += _answer_faults(template, prompt, response)
    return faults


def _answer_faults(template: Template, prompt: str, response: str) -> list[str]:
    parts = template.asks.split("+")
    words = {"item": _ITEM, "preference": _TEXT, "history": _TITLE}
    faults = [
        f"the prompt gives the {part} away" for part in parts if words.get(part, "\0") in prompt
    ]
    if "query" in parts and _WISH in prompt:
        faults.append("the prompt gives the query away")
    single_answers = {"item": {_ITEM}, "yes-no": {_ANSWER}, "which": {_ANSWER}}
    single_answers |= {"preference": {_TEXT}, "query": {_WISH, _TEXT}}
    if response not in single_answers.get(template.asks, {response}):
        faults.append(f"the response to {template.asks!r} must be it and nothing else")
    return faults


def _trial(single: Scenario) -> Instruction:
    (preference,), (intention,), (task,) = single.axes
    return Instruction(
        Preference(
            history=(_TITLE,) if "P1" in preference else (),
            profile=_PROFILE if "P1" in preference else "",
            text=_TEXT if "P2" in preference else "",
        ),
        Intention(_WISH if intention != "I0" else "", IntentionKind(intention)),
        TaskForm(task),
        Context(occasion=_CONTEXT),
        _CANDIDATES if task != TaskForm.MATCHING else (),
    )
