"""Programs that are known to fail: on which legs, and what happens. `sometimes`: not at each run; `hangs`:
it isn't even run. A line goes when the program holds: until then one that holds fails the test.
"""

#: Programs that need a newer Python.
NEWER: dict[str, tuple[int, int]] = {
    "arguments.buffer_frees": (3, 12),
    "arguments.release_of_a_buffer_frees": (3, 12),
    "callbacks.release_of_lent_memory": (3, 12),
}

#: A signal or another thread may come between any two lines of a step that is Python code.
UNCOMPILED = "uncompiled, a step of the allocator can be interrupted"

KNOWN: dict[str, tuple[str, str]] = {
    "signals.interrupted[verbs]": ("compiled pure sometimes", "a signal comes while an exception is reported"),
    "signals.interrupted[queues]": ("compiled pure sometimes", "take asks for more than an interrupted append left"),
    "signals.keyboard_interrupt": ("compiled pure sometimes", "too few interrupts come through on a busy machine"),
    "signals.handler_that_allocates": ("compiled pure sometimes", "handlers nest deeper than Python allows"),
    "callbacks.listener_frees[m-getjcl]": ("compiled sometimes", "one mbuf stays out"),
    "signals.interrupted[bulk_and_drain]": ("pure sometimes", UNCOMPILED),
    "signals.interrupted[bulk]": ("pure sometimes", UNCOMPILED),
    "signals.interrupted[sizes]": ("pure sometimes", UNCOMPILED),
    "signals.interrupted[pages]": ("pure sometimes", UNCOMPILED),
    "signals.interrupted[dropped]": ("pure sometimes", UNCOMPILED),
    "signals.interrupted[at_the_limit]": ("pure sometimes", UNCOMPILED),
    "signals.interrupted_wait[wait]": ("pure sometimes", UNCOMPILED),
    "signals.interrupted_wait[timeout]": ("pure sometimes", UNCOMPILED),
    "threads.depot": ("pure sometimes", UNCOMPILED),
    "threads.drain": ("pure sometimes", UNCOMPILED),
    "threads.all_sizes_and_cpus": ("pure sometimes", UNCOMPILED),
    "threads.sysctl_and_stat": ("pure sometimes", UNCOMPILED),
    "threads.closed_meanwhile": ("pure sometimes", UNCOMPILED),
    "threads.one_chain": ("pure sometimes", UNCOMPILED),
    "threads.free_twice": ("pure sometimes", UNCOMPILED),
    "threads.queue_of_all": ("pure sometimes", UNCOMPILED),
    "threads.tags_and_views": ("pure sometimes", UNCOMPILED),
    "threads.threads_that_end": ("pure sometimes", UNCOMPILED),
}
