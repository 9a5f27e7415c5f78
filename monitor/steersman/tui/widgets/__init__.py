"""The widgets of the dashboard, one a file. They render what they are given and decide nothing."""
