"""Files of this machine and of object storage, by the names that a user gives them.

A name is a path, or a URL such as `s3://bucket/photos/1.jpg`. What a URL's file system needs to know, such as keys and
the address of the server, it takes from the environment, as its own tools do.
"""
