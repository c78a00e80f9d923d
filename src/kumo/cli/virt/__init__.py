"""`kumo virt`, also installed as the kubectl plugin `kubectl virt`: what virtctl does, for a machine that has none.

Commands, flags, messages, exit codes and the escape sequence are virtctl's (KubeVirt `pkg/virtctl`).
"""
