"""ftrace's binary records -> events: pure, for dumps and for trace_pipe_raw."""
