"""Pure functions of what was read and recorded: they open no file and ask no clock."""
