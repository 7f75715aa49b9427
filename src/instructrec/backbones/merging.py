"""A LoRA adapter and its base model made into one ordinary checkpoint, for serving."""

from __future__ import annotations

import shutil
from pathlib import Path

from instructrec.backbones.loading import ADAPTER, load
from instructrec.errors import UsageError
from instructrec.folders import MANIFEST, carried, new_folder, read_manifest

MERGED = "checkpoint"
"""The kind of folder that is made."""


def merge_adapter(
    adapter: Path, out: Path, *, dtype: str = "float32", replace: bool = False
) -> None:
    """Write a model folder in which an adapter is part of the weights.

    What lies beside the adapter and decides how it is asked (scoring.json) goes along, and what
    its manifest says of its making, if it has one: under which protocol, without which users.

    Args:
        adapter: A folder with adapter_config.json and adapter_model.safetensors.
        out: The folder to make.
        dtype: Of the weights; they are added in float32 in any case.
        replace: Whether a folder of ours that is there gives way.

    Raises:
        UsageError: The folder holds no adapter.
        ModelError: It, or its base model, cannot be loaded.
    """
    if not (adapter / ADAPTER).is_file():
        raise UsageError(f"{adapter} has no {ADAPTER}", "Name the folder of a LoRA adapter")
    known = read_manifest(adapter) if (adapter / MANIFEST).is_file() else {}
    settings = {**known.get("settings", {}), "adapter": adapter.name, "dtype": dtype}
    inputs = {"adapter": adapter / ADAPTER}
    with new_folder(
        out,
        str(known.get("kind", MERGED)),
        command="instructrec models merge",
        settings=settings,
        seed=int(known.get("seed", 0)),
        inputs=inputs,
        replace=replace,
    ) as draft:
        load(adapter, dtype).save(draft.path)
        for name in ("scoring.json", "templates.json"):
            if (adapter / name).is_file():
                shutil.copyfile(adapter / name, draft.path / name)
        draft.rows |= known.get("rows", {})
        draft.facts |= carried(known)
