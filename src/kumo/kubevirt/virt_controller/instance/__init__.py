"""The VMI controller: gives every VirtualMachineInstance its pod, and takes its status from there until it runs.

`pods` reads pods, `state` decides what the instance should say, `patch` how to say it to an object that virt-handler
owns by then; `controller` is the shell.
"""
