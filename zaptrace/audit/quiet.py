"""Whether anything in a kernel may hold a reference to a page that no structure records.

Whatever looks at a page in the kernel holds a reference meanwhile: on a CPU that runs the kernel,
or in a task that sleeps in the middle of it (a page fault that waits for its page, a copy to user
memory, direct I/O).  And some kinds of files hold pages of processes for as long as they are open.
Only where all tasks wait for something else, or run programs, and all files are of kinds that hold
none, a reference that nothing explains was leaked.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import drgn
from drgn.helpers.linux.cpumask import for_each_online_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import cpu_curr

from zaptrace.audit.mms import printable, state_of
from zaptrace.audit.openfiles import OpenFile, OpenFiles
from zaptrace.audit.optional import is_broken, optional_step
from zaptrace.audit.state import KernelState
from zaptrace.memory.registers import CpuRegisters, as_pt_regs
from zaptrace.model.task_name import task_name

_MOST_TASKS = 1 << 15
_MOST_FRAMES = 64
_TAINT_DIE = 7  # include/linux/panic.h
_PF_KTHREAD = 0x00200000  # include/linux/sched.h

_WAITS = frozenset(
    (
        # Functions in which a task of user space sleeps and holds no page.  A compiler may have
        # inlined any of them: drgn names inlined functions as well.
        *("__do_sys_pause", "sys_pause", "__s390x_sys_pause", "__x64_sys_pause"),
        *("do_nanosleep", "hrtimer_nanosleep", "common_nsleep"),
        *("futex_wait_queue", "futex_wait_queue_me", "futex_do_wait", "futex_wait"),
        *("do_wait", "kernel_wait4", "kernel_waitid", "wait_for_vfork_done"),
        *("do_sys_poll", "do_select", "ep_poll", "do_epoll_wait"),
        *("pipe_read", "anon_pipe_read", "fifo_open", "wait_for_partner"),
        *("n_tty_read", "unix_stream_data_wait", "__skb_wait_for_more_packets"),
        *("inet_csk_accept", "inet_csk_wait_for_connect", "sk_wait_data"),
        *("sigsuspend", "do_sigtimedwait", "signalfd_read", "signalfd_dequeue"),
        *("eventfd_read", "timerfd_read", "timerfd_read_iter", "inotify_read", "fanotify_read"),
        *("userfaultfd_ctx_read", "do_signal_stop", "ptrace_stop", "do_jobctl_trap"),
        *("do_msgrcv", "do_semtimedop", "__do_semtimedop", "do_mq_timedreceive", "wq_sleep"),
        *("do_syslog", "syslog_print", "devkmsg_read", "port_fops_read", "evdev_read"),
        # A task that is dead, or about to be.
        *("do_task_dead", "do_exit"),
    )
)
_AT_PAGES = frozenset(
    (
        # Functions on the stack of a task that may hold a page while it sleeps.
        *("handle_mm_fault", "__handle_mm_fault", "handle_userfault", "filemap_fault"),
        *("__get_user_pages", "faultin_page", "copy_strings", "get_arg_page"),
        *("folio_wait_bit_common", "io_schedule", "exit_mmap", "unmap_vmas", "zap_pte_range"),
        *("migrate_pages", "splice_direct_to_actor", "iter_to_pipe", "iomap_dio_rw"),
    )
)
_BETWEEN_WORK = frozenset(
    (
        # Functions in which a kernel thread sleeps between two pieces of its work.
        *("worker_thread", "rescuer_thread", "kthreadd", "smpboot_thread_fn", "kthread_worker_fn"),
        *("devtmpfs_work_loop", "oom_reaper", "kcompactd", "kswapd_try_to_sleep"),
        *("ksm_scan_thread", "khugepaged_wait_work", "rcu_gp_kthread", "rcu_tasks_one_gp"),
        *("kauditd_thread", "kthread_parkme", "irq_thread", "watchdog", "kjournald2"),
        *("rcu_nocb_cb_kthread", "rcu_gp_fqs_loop", "nocb_gp_wait", "nocb_cb_wait", "hvc_poll"),
        *("khvcd", "hwrng_fillfn", "psi_rtpoll_worker", "scsi_error_handler", "psi_poll_worker"),
        *("rcu_boost_kthread", "balance_dirty", "cpuhp_thread_fun", "vballoon"),
    )
)
_SCHEDULING = frozenset(
    (
        *("context_switch", "__schedule", "__schedule_loop", "schedule", "schedule_idle"),
        *("schedule_timeout", "schedule_timeout_interruptible"),
        *("schedule_timeout_uninterruptible", "schedule_timeout_idle"),
        *("schedule_hrtimeout_range", "schedule_hrtimeout_range_clock"),
    )
)
_PREEMPTS = ("preempt_schedule", "irqentry_", "raw_irqentry_")
"""How functions begin that leave a CPU wherever the task is."""
_OFF = frozenset(
    (
        # A CPU that is about to power off, to halt or to reboot the machine.
        *("kernel_power_off", "kernel_halt", "kernel_restart", "machine_power_off", "do_power_off"),
        *("native_machine_power_off", "machine_halt", "machine_restart", "stop_this_cpu"),
        *("smp_stop_cpu", "disabled_wait", "nmi_shootdown_cpus"),
    )
)
_PLAIN_FILES = (
    # Beginnings of the names of file_operations whose files hold no page of a process beyond the
    # page cache, or (pipes) ones that are looked for.
    *("pipefifo", "pipeanon", "proc_", "pid_", "pidfd", "kernfs", "sysfs", "shmem", "tmpfs"),
    *("hugetlbfs", "simple_", "ramfs", "rootfs", "dcache_dir", "seq_", "debugfs", "tracefs"),
    *("event_", "ns_", "tracing", "bpf_", "perf", "cgroup", "mqueue", "secretmem", "empty_dir"),
    *("console", "tty", "hung_up_tty", "null", "zero", "full", "random", "urandom", "kmsg", "mem_"),
    *("eventpoll", "eventfd", "signalfd", "timerfd", "inotify", "fanotify", "userfaultfd"),
    *("ext2_", "ext4_", "xfs_", "btrfs_", "f2fs_", "squashfs", "isofs", "fat_", "overlay", "ovl_"),
    *("def_blk", "portdev", "port_fops", "evdev", "rtc", "watchdog", "hpet", "generic_ro"),
    *("memory_fops", "vga_"),
)

_PLAIN_FAMILIES = {1, 2, 10, 16, 17}
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET: they pin no page but of data in a queue."""


def holders_at_large(state: KernelState, files: OpenFiles, *, running: bool) -> str | None:
    """Return what may hold pages unseen; None when nothing does.

    Args:
        files: the open files.
        running: the kernel runs: repeated audits have already separated
            what its CPUs are doing from what stays.
    """
    if what := _at_work(state, frozenset(), running=running):
        return what
    if not files.complete:
        return "files of tasks that cannot be read"
    return next(filter(None, map(_holding_file, files.files)), None)


def task_at_large(
    state: KernelState, *, running: bool, but: Container[int] = frozenset()
) -> str | None:
    """Return a task in the middle of something, or that an oops ended there; None when there is
    none.

    Args:
        running: see `holders_at_large`.
        but: task_structs, by address, that are not asked.
    """
    try:
        if state.prog["tainted_mask"].value_() >> _TAINT_DIE & 1:
            return "a task that an oops ended"
    except (LookupError, drgn.FaultError):
        return "tasks that an oops may have ended"
    return _at_work(state, but, running=running)


def _at_work(state: KernelState, but: Container[int], *, running: bool) -> str | None:
    if not running and (busy := _busy_cpu(state.prog, state.cpus)):
        return busy
    return _task_at_work(state.prog, but, running=running)


def _busy_cpu(prog: drgn.Program, cpus: Sequence[CpuRegisters]) -> str | None:
    try:
        for cpu in for_each_online_cpu(prog):
            task = cpu_curr(prog, cpu)
            stopped = next((one for one in cpus if one.cpu == cpu), None)
            if stopped is not None and stopped.in_user_space:
                continue
            at = task if stopped is None else as_pt_regs(prog, stopped)
            if task.pid.value_() and not _OFF & set(_functions(prog, at)):
                return f"{_name(task)}, which runs on CPU {cpu}"
    except Exception as error:
        if not is_broken(error):
            raise
        return "tasks that cannot be read"
    return None


def _task_at_work(prog: drgn.Program, but: Container[int], *, running: bool) -> str | None:
    """Return a task that is in the middle of something."""
    try:
        for number, task in enumerate(for_each_task(prog)):
            if number >= _MOST_TASKS:
                return "tasks, of which there are too many"
            if task.value_() not in but and not _waits(prog, task, running=running):
                return _name(task)
    except Exception as error:
        if not is_broken(error):
            raise
        return "tasks that cannot be read"
    return None


def _waits(prog: drgn.Program, task: drgn.Object, *, running: bool) -> bool:
    """Return whether a task sleeps where it holds no page."""
    if task.exit_state.value_():  # dead; perhaps its stack is, too
        return True
    functions = _functions(prog, task)
    if state_of(task) == 0:  # on a CPU, which is asked itself; else woken, or preempted
        if running or task.on_cpu.value_() or _OFF & set(functions):
            return True
        if "schedule" not in functions or any(name.startswith(_PREEMPTS) for name in functions):
            return False
    if _AT_PAGES & set(functions):
        return False
    if task.flags.value_() & _PF_KTHREAD:
        return _is_between_work(functions)
    return bool((_WAITS | _OFF) & set(functions))


def _is_between_work(functions: list[str]) -> bool:
    """Return whether a kernel thread sleeps in its main function, not in its work."""
    if "process_one_work" in functions:
        return False
    own = [name for name in functions if name not in _SCHEDULING]
    main = own.index("kthread") == 1 if "kthread" in own else False
    return main or bool((_BETWEEN_WORK | _OFF) & set(functions))


def _functions(prog: drgn.Program, where: drgn.Object) -> list[str]:
    """Return the functions on the stack of a task, or from some registers on, innermost first."""
    try:
        trace = prog.stack_trace(where)
    except (ValueError, LookupError, drgn.FaultError):
        return []
    return [trace[number].name for number in range(min(len(trace), _MOST_FRAMES))]


def _holding_file(file: OpenFile) -> str | None:
    """Return a file that may hold pages: of a kind that does, or a socket with data in it."""
    if file.kind == "socket_file_ops":
        return f"a socket of pid {file.pid} with data in it" if _has_data(file.obj) else None
    if file.kind.startswith(_PLAIN_FILES):
        return None
    return f"a file of pid {file.pid} ({file.kind})"


def _has_data(file: drgn.Object) -> bool:
    try:
        sock = _sock(file)
        if not sock:
            return False
        queues = ("sk_receive_queue", "sk_write_queue", "sk_error_queue")
        if any(sock.member_(name).qlen.value_() for name in queues):
            return True
        return bool(sock.sk_backlog.len.value_()) or bool(sock.tcp_rtx_queue.rb_node.value_())
    except Exception as error:
        if not is_broken(error):
            raise
        return True


def _name(task: drgn.Object) -> str:
    return task_name(printable(task.comm.string_()), task.pid.value_())


def pinner_at_large(state: KernelState, files: OpenFiles) -> str | None:
    """Return what else may keep pages pinned where `holders_at_large` finds nothing.

    io_uring, vfio and the like have files of kinds that it names; a socket may have memory of its
    user (AF_XDP), and asynchronous direct I/O has no file of its own (struct kioctx).
    """
    for file in files.of_kinds("socket_file_ops"):
        family = None
        with optional_step():
            family = _sock(file.obj).member_("__sk_common").skc_family.value_()
        if family not in _PLAIN_FAMILIES:
            return f"a socket of pid {file.pid}"
    for mm in state.mms:
        try:
            if mm.obj.ioctx_table:
                return "asynchronous I/O"
        except AttributeError:  # no CONFIG_AIO
            return None
        except drgn.FaultError:
            return "asynchronous I/O"
    return None


def _sock(file: drgn.Object) -> drgn.Object:
    return drgn.cast("struct socket *", file.private_data).sk
