class OutputProcessor:
    tracing_enabled = False

    def _update_stats_from_finished(self, req_state, finish_reason, iteration_stats):
        return None
