"""What operators see of this server: counts, traces, logs. Ids, outcomes and numbers; never what anybody wrote."""
