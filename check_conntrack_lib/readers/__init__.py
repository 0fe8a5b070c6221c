"""One module a kernel source: `parse` is pure, `read` opens it and answers a value or Missing."""
