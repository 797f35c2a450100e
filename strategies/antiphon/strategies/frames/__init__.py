"""Where factors that stand still come from, one file each: the kind `frames`."""
