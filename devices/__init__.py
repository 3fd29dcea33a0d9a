"""The room for boards and phones, their sensors and the agent; nothing lives here yet."""
