"""Programs that are expected to fail, with the leg and the reason. `sometimes`: not at each run; `hangs`: it isn't run.

A program that passes although it is listed here fails the test, unless it is marked `sometimes`.
"""

#: Programs that need a newer Python.
NEWER: dict[str, tuple[int, int]] = {
    "arguments.buffer_frees": (3, 12),
    "arguments.release_of_a_buffer_frees": (3, 12),
    "callbacks.release_of_lent_memory": (3, 12),
}

UNCOMPILED = "uncompiled, another thread may run between a check of a chain and the change that it is for"

ARRAY = "uncompiled, the owner of a view is an array of ctypes"

XFAIL: dict[str, tuple[str, str]] = {
    "internals.owner_of_a_view": ("pure", ARRAY),
    "internals.referents_of_a_view": ("pure", ARRAY),
    "threads.one_chain": ("pure sometimes", UNCOMPILED),
    "threads.queue_of_all": ("pure sometimes", UNCOMPILED),
}
