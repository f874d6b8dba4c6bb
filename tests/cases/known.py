"""Programs that are known to fail: on which legs, and what happens. `sometimes`: not at each run; `hangs`:
it isn't even run. A line goes when the program holds: until then one that holds fails the test.
"""

#: Programs that need a newer Python.
NEWER: dict[str, tuple[int, int]] = {
    "arguments.buffer_frees": (3, 12),
    "arguments.release_of_a_buffer_frees": (3, 12),
    "callbacks.release_of_lent_memory": (3, 12),
}

#: Compiled, none of ours runs between a look and the step that it is for.
UNCOMPILED = "uncompiled, another thread may come between a look at a chain and the step that it is for"

#: As is the array that a view names as its owner.
ARRAY = "uncompiled, the owner of a view is the array that ctypes made"

KNOWN: dict[str, tuple[str, str]] = {
    "internals.owner_of_a_view": ("pure", ARRAY),
    "internals.referents_of_a_view": ("pure", ARRAY),
    "threads.one_chain": ("pure sometimes", UNCOMPILED),
    "threads.queue_of_all": ("pure sometimes", UNCOMPILED),
}
