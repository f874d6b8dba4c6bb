"""Programs that are known to fail: on which legs, and what happens. `sometimes`: not at each run; `hangs`:
it isn't even run. A line goes when the program holds: until then one that holds fails the test.
"""

#: Programs that need a newer Python.
NEWER: dict[str, tuple[int, int]] = {
    "arguments.buffer_frees": (3, 12),
    "arguments.release_of_a_buffer_frees": (3, 12),
    "callbacks.release_of_lent_memory": (3, 12),
}

KNOWN: dict[str, tuple[str, str]] = {
    "signals.interrupted[verbs]": ("compiled pure sometimes", "a signal comes while an exception is reported"),
    "signals.interrupted[queues]": ("compiled pure sometimes", "take asks for more than an interrupted append left"),
    "signals.keyboard_interrupt": ("compiled pure sometimes", "too few interrupts come through on a busy machine"),
    "signals.handler_that_allocates": ("compiled pure sometimes", "handlers nest deeper than Python allows"),
    "callbacks.listener_frees[m-getjcl]": ("compiled sometimes", "one mbuf stays out"),
}
