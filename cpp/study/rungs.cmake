# A table of rungs: add_rung(SOURCE ISA) for each of their files, relative to cpp/study, or
# add_cuda_ladders for all of CUDA; then write_rungs(FILE). rungs.cpp.in says what becomes of it.
set(declarations "")
set(entries "")
set(study_folder ${CMAKE_CURRENT_LIST_DIR})

macro(add_rung source isa)  # and the source's own name for its function
  string(REGEX MATCH "^([a-z0-9_]+)/([0-9]+)_" ignored ${source})
  set(rung ${CMAKE_MATCH_1}_${CMAKE_MATCH_2})
  set_property(SOURCE ${study_folder}/${source} PROPERTY COMPILE_DEFINITIONS ALEXNET_RUNG=${rung})
  math(EXPR number "${CMAKE_MATCH_2}")
  string(APPEND declarations "void alexnet_study_${rung}_${isa}();\n")
  string(APPEND entries "    {\"${CMAKE_MATCH_1}\", ${number}, \"${isa}\", "
                        "alexnet_study_${rung}_${isa}},\n")
endmacro()

# Write one source a ladder for CUDA into `folder`, and set `sources` to them: headers take longer to
# compile than rungs. Each rung is in a namespace of its own, behind the headers that they include.
macro(add_cuda_ladders folder sources)
  file(GLOB headers RELATIVE ${study_folder}/cuda CONFIGURE_DEPENDS ${study_folder}/cuda/*.cuh)
  list(TRANSFORM headers REPLACE "(.+)" "#include \"\\1\"\n" OUTPUT_VARIABLE includes)
  string(CONCAT includes ${includes})
  file(GLOB folders RELATIVE ${study_folder} ${study_folder}/*_cuda)
  set(${sources} "")
  foreach(ladder IN LISTS folders)
    set(text "${includes}")
    file(GLOB rungs RELATIVE ${study_folder} CONFIGURE_DEPENDS
         ${study_folder}/${ladder}/[0-9][0-9]_*.cu)
    foreach(source IN LISTS rungs)
      add_rung(${source} cuda)
      string(APPEND text "\n#define ALEXNET_RUNG ${rung}\nnamespace ${rung} {\n"
                         "#include \"${study_folder}/${source}\"\n}\n#undef ALEXNET_RUNG\n")
    endforeach()
    file(CONFIGURE OUTPUT ${folder}/${ladder}.cu CONTENT "${text}" @ONLY)
    list(APPEND ${sources} ${folder}/${ladder}.cu)
  endforeach()
endmacro()

macro(write_rungs file)
  configure_file(${study_folder}/rungs.cpp.in ${file} @ONLY)
endmacro()
