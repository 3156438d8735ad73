"""The client: a class for programs, and the `rmi-agent` command. It speaks MCP and nothing else."""
