"""What several experiments share: pieces of configurations, trajectories, studies, tables, judges."""
