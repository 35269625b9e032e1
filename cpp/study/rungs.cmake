# A table of rungs: add_rung(SOURCE ISA) for each of their files, relative to cpp/study, then
# write_rungs(FILE). rungs.cpp.in says what becomes of it.
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

macro(write_rungs file)
  configure_file(${study_folder}/rungs.cpp.in ${file} @ONLY)
endmacro()
