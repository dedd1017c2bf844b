"""Moving house: threads go from one store to another as a file of JSON Lines.

    lines       what a line says: the format
    output      the file that is written: whole threads only, hashed as they go
    source      the file that is read: in order, or a line here and a value there
    selection   which threads are exported
    exporting   from a store to a file
    checking    is the file whole, and every journal in it what was written?
    importing   from a file to a store
    rules       limits and schedules

Nothing here knows which store it is: all goes over the verbs of the port. See docs/how-to/17-moving-house.md.
"""
