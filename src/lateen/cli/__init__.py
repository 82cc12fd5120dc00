"""The command line: a front end to the API, plus the commands that run a process or work offline on files."""
