"""The figures that README quotes, each by one command."""
