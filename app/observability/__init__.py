"""What is known of requests and of the process: traces, metrics and spans."""
