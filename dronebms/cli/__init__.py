"""The command line `dronebms`: options, commands, exit codes."""
