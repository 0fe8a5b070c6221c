"""Network namespaces: everything that `--netns` needs: discover, name, enter, read, assess."""
