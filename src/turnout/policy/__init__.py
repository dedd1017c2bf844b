"""Policy in Cedar: rules in files, who may call what, with which arguments, and with whose approval."""
