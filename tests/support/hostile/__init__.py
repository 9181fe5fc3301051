"""Files that a command or a parser must refuse in one line: tables of cases, one module for each kind of file."""
